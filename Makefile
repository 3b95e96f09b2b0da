# dfir.aws: what a newcomer types. Every target installs what it lacks and is quick when everything is there.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PY := .venv/bin/python
# The lab boots hosts, so it needs root; everything else runs as the caller.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo --preserve-env=DFIR_LAB_STATE,DFIR_LAB_PORT,DFIR_LAB_CACHE,DFIR_TEST_LAB_STATE,DFIR_TEST_LAB_PORT,DFIR_LAB_USAGE,PYTHONDONTWRITEBYTECODE)
export PYTHONDONTWRITEBYTECODE := 1
# Chooses cells of the fault matrix for `make test`, and what `make soak` does.
SEED := 1
ROUNDS := 6

# Imaging without hosts of its own: its actions, playbooks and formats, on real processes.
IMAGING := tests/integration/ebs tests/integration/test_image_snapshot.py
# Evidence without a lab: disks and file systems of every kind, on real devices.
EVIDENCE := tests/integration/evidence
# What is asked of a case beside an analysis, and what platforms and schedules do: playbooks against the lab, most without
# hosts; the account set up. The live rulebook is in `make test`.
CASES := tests/integration/report $(wildcard $(addprefix tests/integration/test_,triage_snapshot.py compare_snapshots.py \
  acquire_instance.py acquire_accounts.py contain_instance.py custody.py custody_record.py share_snapshots.py \
  prepare_account.py))
DOORS := $(wildcard tests/integration/aap tests/integration/test_expire_snapshots.py)

# Holds the policies of docs/iam against what all tests before it have used.
POLICIES := tests/integration/policies

.PHONY: help setup setup-lab demo test test-imaging test-evidence test-cases test-doors test-policies test-more fault-matrix soak unit lint sanity core216 bench custody-verify lab-up lab-down lab-status clean

help: ## show this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: ## install what this machine lacks
	@lab/setup.sh apt-tests
	@lab/setup.sh venv
	@lab/setup.sh eda

setup-lab:
	@lab/setup.sh apt
	@lab/setup.sh venv

demo: lab-up ## run the main job on the embedded lab, from the request to the results
	@$(PY) -m lab.demo

test: setup ## run the tests: plugins, lab, and the scenarios on real hosts
	@$(AS_ROOT) $(PY) -m pytest -n 3 --dist worksteal tests/unit
	@$(AS_ROOT) $(PY) -m pytest -m "not more" --sample 3 --seed $(SEED) \
	  $(addprefix --ignore ,$(IMAGING) $(EVIDENCE) $(CASES) $(DOORS)) \
	  --ignore tests/integration/imaging --ignore tests/integration/toolbox --ignore $(POLICIES) tests/integration tests/scenarios

test-imaging: setup ## block-level imaging: what is done with processes, signals and real tools
	@$(AS_ROOT) $(PY) -m pytest $(IMAGING)

test-evidence: setup ## evidence that misbehaves and evidence that is hostile: real disks, real file systems
	@$(AS_ROOT) $(PY) -m pytest $(EVIDENCE)

test-cases: setup ## what is asked of a case beside an analysis: triage, comparison, acquisition, custody, reports
	@$(AS_ROOT) $(PY) -m pytest -m "not more" $(CASES)

test-doors: setup ## the platform's ways in, and schedules: import, containers, retention
	@$(AS_ROOT) $(PY) -m pytest -m "not more" $(DOORS)

test-policies: setup ## after all others of .ci/run: is every action of every policy used, and is none missing?
	@$(AS_ROOT) $(PY) -m pytest tests/integration/toolbox/test_toolbox_rights.py $(POLICIES)

test-more: setup ## what takes longer still: sessions prolonged, several snapshots, events, containers, a retraction, imaging hosts, building the tools
	@$(AS_ROOT) $(PY) -m pytest -m "more or host" tests/integration/flow tests/integration/eda tests/integration/aap tests/scenarios
	@$(AS_ROOT) $(PY) -m pytest tests/integration/imaging tests/integration/toolbox

unit: setup ## run the unit tests alone (no root, less than a minute)
	@$(PY) -m pytest -n 3 --dist worksteal -m "not slow" tests/unit

lint: setup ## ruff, mypy, yamllint and ansible-lint's production profile
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/yamllint --strict .
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/ansible-lint --strict

sanity: setup ## ansible-test sanity on the collection
	@tests/sanity/run $(SANITY_ARGS)

core216: setup ## hold the collection against ansible-core 2.16, the oldest that is promised
	@[ -x .venv-2.16/bin/ansible ] || { $(PY) -m venv .venv-2.16 && .venv-2.16/bin/pip -q install 'ansible-core==2.16.*' 'boto3>=1.36'; }
	@$(AS_ROOT) env DFIR_CORE216=.venv-2.16/bin/python $(PY) -m pytest tests/integration/test_cores.py

fault-matrix: setup ## make every step of a request fail in every way, and write docs/failure-matrix.md
	@$(AS_ROOT) $(PY) -m pytest --matrix docs/failure-matrix.md tests/integration/test_reap_resources.py \
	  $(EVIDENCE)/test_misbehaving_partitions.py tests/integration/flow

soak: setup ## kill controllers and hosts at random moments (SEED=n, ROUNDS=n), and look what is left
	@$(AS_ROOT) $(PY) -m pytest --seed $(SEED) --rounds $(ROUNDS) tests/integration/flow/test_flow_soak.py \
	  tests/integration/flow/test_nothing_left.py

bench: setup ## measure speed as ratios, side by side
	@$(PY) -m pytest -q -s tests/bench

custody-verify: ## build dist/custody-verify.pyz, which checks a case with nothing but Python
	@rm -rf build/custody && mkdir -p build/custody/dfir_custody dist
	@cp plugins/module_utils/custody/*.py build/custody/dfir_custody/
	@python3 -m zipapp build/custody -m dfir_custody.cli:run -p '/usr/bin/env python3' -c -o dist/custody-verify.pyz
	@rm -rf build/custody && sha256sum dist/custody-verify.pyz

lab-up: setup-lab ## start the embedded AWS (or say that it runs)
	@$(AS_ROOT) $(PY) -m lab up

lab-down: ## stop the lab and leave nothing of it
	@[ ! -x $(PY) ] || $(AS_ROOT) $(PY) -m lab down

lab-status: ## show instances, volumes, snapshots and mails of the lab
	@lab/setup.sh venv
	@$(PY) -m lab status

clean: lab-down ## remove what the targets above left in the checkout (the shared cache stays)
	@rm -rf .venv .venv-2.16 .venv-dsnap .venv-eda .lab .lab-test .cache .pytest_cache .mypy_cache .ruff_cache .ansible tests/output build dist *.egg-info
