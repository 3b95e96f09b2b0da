/* Copyright (c) 2026 The dfir.aws authors. GPL-3.0-or-later
 * The timeline: unpacked, filtered, drawn with uPlot, and a page of its rows as a table. */
(function () {
  const { make, number } = dfirReport;
  const { told, moment, typed, splits, labels } = dfirReport.times;
  const PAGE = 200;
  const LETTERS = "macb";
  const NAMES = { m: "modified", a: "read", c: "changed", b: "born" };
  // What a chart can tell on an axis of years: 0100 to 9999. What is beyond is in the table all the same.
  const FIRST = -59011459200, LAST = 253402300799;
  const SHORTEST = 1; // seconds on the whole width
  const SPANS = [["1 year", 31557600], ["30 days", 2592000], ["7 days", 604800], ["24 h", 86400], ["1 h", 3600]];
  const view = document.getElementById("timeline-view");
  if (!view) return; // a report on what has no timeline

  async function unpack() {
    const packed = JSON.parse(document.getElementById("timeline-data").textContent);
    const bytes = Uint8Array.from(atob(packed.data), (char) => char.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const columns = JSON.parse(await new Response(stream).text());
    const size = packed.rows, seconds = new Float64Array(size).fill(NaN);
    let before = 0, timed = 0;
    for (; timed < size && columns.seconds[timed] !== null; timed++) { // those without a time are the last
      before += columns.seconds[timed];
      seconds[timed] = before;
    }
    const found = new Map(columns.findings.map(([row, place, severity]) => [row, { place, severity }]));
    return { ...columns, size, timed, seconds, found, lower: columns.paths.map((path) => path.toLowerCase()) };
  }

  /* ---- the view ---- */

  function start(data) {
    view.hidden = false;
    if (!data.size) {
      view.append(make("p", { class: "quiet" }, "No entries are in this report."));
      return;
    }
    const state = { text: "", letters: new Set(LETTERS), partition: -1, findings: false, low: 0, high: 0, all: true, page: 0,
      newest: true };
    const inside = (row) => data.seconds[row] >= FIRST && data.seconds[row] <= LAST;
    let from = 0, to = data.timed - 1;
    while (from < data.timed && !inside(from)) from++;
    while (to >= 0 && !inside(to)) to--;
    const low = from <= to ? data.seconds[from] : 0, high = from <= to ? data.seconds[to] + 1 : 1;
    const pad = Math.max((high - low) * 0.005, 1);
    const whole = [Math.max(FIRST, low - pad), Math.min(LAST, high + pad)];
    const drawable = (row) => row >= from && row <= to;

    // The last moment that is not later than the report: clocks that were set wrong would lead astray.
    const about = JSON.parse(document.getElementById("about-data").textContent);
    const made = Date.parse(about.made) / 1000;
    let latest = high;
    for (let row = to; row >= from; row--) if (!(data.seconds[row] > made)) { latest = data.seconds[row] + 1; break; }
    // A few wrong clocks must not press everything else into one column: where they would, the first view is without
    // them, and says so.
    const few = Math.floor((to - from + 1) / 1000), early = data.seconds[from + few];

    let matches = new Uint32Array(0), chosen = [0, 0];
    const parts = controls();
    const plot = chart();
    filter();
    if (from <= to && latest - early < 0.6 * (whole[1] - whole[0])) zoom(early - (latest - early) * 0.01, latest);
    else reset();

    function filter() {
      const wanted = state.text.toLowerCase();
      const paths = wanted ? data.lower.map((path) => path.includes(wanted)) : null;
      let bits = 0;
      LETTERS.split("").forEach((letter, bit) => { if (state.letters.has(letter)) bits |= 1 << bit; });
      const all = state.letters.size === LETTERS.length, found = [];
      for (let row = 0; row < data.size; row++) {
        if (paths && !paths[data.path[row]]) continue;
        if (!all && !(data.what[row] & bits)) continue;
        if (state.partition >= 0 && data.partition[row] !== state.partition) continue;
        if (state.findings && !data.found.has(row)) continue;
        found.push(row);
      }
      matches = Uint32Array.from(found);
    }

    /* The place among the matches of the first row that is not before a time. */
    function place(time, after) {
      let one = 0, other = matches.length;
      while (one < other) {
        const middle = (one + other) >> 1, at = data.seconds[matches[middle]] + data.nanos[matches[middle]] / 1e9;
        if (at < time || (after && at === time)) one = middle + 1; else other = middle; // NaN is after all
      }
      return one;
    }

    function zoom(one, other) {
      let width = Math.min(whole[1] - whole[0], Math.max(SHORTEST, other - one));
      let begin = Math.max(whole[0], Math.min((one + other - width) / 2, whole[1] - width));
      state.low = begin;
      state.high = begin + width;
      state.all = state.low <= whole[0] && state.high >= whole[1];
      state.page = 0;
      show();
    }

    function reset() { zoom(whole[0], whole[1]); }
    function closer(factor) {
      const middle = (state.low + state.high) / 2, half = (state.high - state.low) / 2 * factor;
      zoom(middle - half, middle + half);
    }
    function move(share) {
      const by = (state.high - state.low) * share;
      if (by > 0 ? state.high < whole[1] : state.low > whole[0]) zoom(state.low + by, state.high + by);
    }

    function show() {
      chosen = state.all ? [0, matches.length] : [place(state.low), place(state.high, true)];
      const count = chosen[1] - chosen[0];
      parts.status.textContent = `${number(count)} of ${number(data.size)} entries`
        + (state.all ? "" : `, ${told(state.low)} to ${told(state.high)}${outside()}`);
      parts.from.value = told(state.low);
      parts.to.value = told(state.high);
      for (const field of [parts.from, parts.to]) field.removeAttribute("aria-invalid");
      for (const [button, span] of parts.spans) {
        button.setAttribute("aria-pressed", String(span === 0 ? state.all
          : !state.all && Math.abs(state.high - latest) < 1 && Math.abs(state.high - state.low - span) < 1));
      }
      draw();
      rows();
    }

    /* What the filters let through and the time does not: ` (not shown: 2 earlier, 1 later)`. */
    function outside() {
      let timed = matches.length;
      while (timed && matches[timed - 1] >= data.timed) timed--;
      const kinds = [[chosen[0], "earlier"], [timed - chosen[1], "later"], [matches.length - timed, "without a time"]];
      const words = kinds.filter(([count]) => count > 0).map(([count, name]) => `${number(count)} ${name}`);
      return words.length ? ` (not shown: ${words.join(", ")})` : "";
    }

    /* ---- the chart ---- */

    function chart() {
      const box = parts.chart, color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
      const bars = uPlot.paths.bars({ size: [1, Infinity], gap: 0 });
      const axis = { stroke: () => color("--quiet"), font: "12px system-ui, sans-serif", ticks: { show: false },
        grid: { stroke: () => color("--grid"), width: 1 } };
      const size = () => ({ width: Math.max(280, box.clientWidth), height: 190 });
      const made = new uPlot({
        ...size(), legend: { show: false }, padding: [8, 18, 0, 0],
        cursor: { y: false, points: { show: false }, drag: { x: true, y: false, setScale: false },
          bind: { dblclick: () => () => { reset(); return null; } } },
        scales: { x: { time: false, range: () => [state.low, state.high] },
          y: { range: (_plot, _low, top) => [0, Math.max(1, top || 0) * 1.06] } },
        axes: [
          { ...axis, size: 44, splits: (plot, _axis, one, other) => splits(one, other, plot.width / 115),
            values: (_plot, at) => labels(at, state.high - state.low) },
          { ...axis, size: 58, splits: (_plot, _axis, _low, top) => [0, 1, 10, 100, 1000, 10000, 100000]
            .map((count) => Math.log10(1 + count)).filter((at) => at <= top),
          values: (_plot, at) => at.map((each) => (each ? number(Math.round(10 ** each - 1)) : "")) },
        ],
        series: [{},
          { paths: bars, fill: () => color("--bar"), width: 0, points: { show: false } },
          { paths: bars, fill: () => color("--bar-found"), width: 0, points: { show: false } }],
        hooks: {
          setSelect: [(plot) => {
            if (plot.select.width < 3) return;
            const ends = [plot.select.left, plot.select.left + plot.select.width].map((at) => plot.posToVal(at, "x"));
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            zoom(ends[0], ends[1]);
          }],
          setCursor: [(plot) => { parts.readout.textContent = bin(plot.cursor.idx); }],
        },
      }, [[], [], []], box);
      new ResizeObserver(() => { made.setSize(size()); if (state.high) draw(); }).observe(box);
      const colors = () => made.redraw(true, true);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", colors);
      matchMedia("print").addEventListener("change", colors);
      return made;
    }

    /* Entries in columns of equal time. The scale is logarithmic: an installation is thousands in a minute. */
    function draw() {
      const count = Math.max(40, Math.min(360, Math.floor(parts.chart.clientWidth / 4)));
      const width = (state.high - state.low) / count;
      const all = new Uint32Array(count), found = new Uint32Array(count);
      for (let at = chosen[0]; at < chosen[1]; at++) {
        const row = matches[at];
        if (!drawable(row)) continue;
        const column = Math.floor((data.seconds[row] + data.nanos[row] / 1e9 - state.low) / width);
        if (column < 0 || column > count) continue;
        all[Math.min(column, count - 1)]++;
        if (data.found.has(row)) found[Math.min(column, count - 1)]++;
      }
      const shape = (values) => Array.from(values, (value) => (value ? Math.log10(1 + value) : null));
      state.columns = { width, all, found };
      const middles = Array.from(all, (_value, column) => state.low + (column + 0.5) * width);
      plot.setData([middles, shape(all), shape(found)], true);
    }

    function bin(column) {
      if (column === null || column === undefined || !state.columns) return "";
      const { width, all, found } = state.columns, begin = state.low + column * width;
      return `${told(begin)} to ${told(begin + width)}: ${number(all[column])} entries`
        + (found[column] ? `, ${number(found[column])} with findings` : "");
    }

    /* ---- the rows ---- */

    function rows() {
      const count = chosen[1] - chosen[0], pages = Math.max(1, Math.ceil(count / PAGE));
      state.page = Math.min(state.page, pages - 1);
      const first = state.page * PAGE, last = Math.min(count, first + PAGE), made = [];
      for (let at = first; at < last; at++) made.push(line(matches[state.newest ? chosen[1] - 1 - at : chosen[0] + at]));
      parts.body.replaceChildren(...made);
      parts.head.setAttribute("aria-sort", state.newest ? "descending" : "ascending");
      parts.page.textContent = count ? `Rows ${number(first + 1)} to ${number(last)} of ${number(count)}`
        : "No entry is like that. Reset the time, or ask for less.";
      parts.first.disabled = parts.previous.disabled = state.page === 0;
      parts.next.disabled = parts.last.disabled = state.page >= pages - 1;
      state.pages = pages;
    }

    function line(row) {
      const [when, rest] = moment(data, row), about = data.found.get(row);
      const what = LETTERS.split("").map((letter, bit) => (data.what[row] & (1 << bit) ? letter : "·")).join("");
      const path = make("td", { class: "path" });
      if (about && document.getElementById(`f-${about.place}`)) {
        path.append(make("a", { href: `#f-${about.place}`, class: `badge ${about.severity}` }, about.severity), " ");
      }
      path.append(...marked(data.paths[data.path[row]]));
      const size = data.sizes[row], uid = data.uid[row];
      return make("tr", about ? { class: `found ${about.severity}` } : null,
        make("td", { class: "time" }, when, make("small", null, rest)),
        make("td", { class: "macb" }, what),
        make("td", { class: "number" }, typeof size === "number" ? number(size) : size || ""),
        make("td", { class: "part" }, data.partitions[data.partition[row]]),
        make("td", { class: "number" }, uid === null ? "" : String(uid)),
        make("td", { class: "mode" }, data.modes[data.mode[row]]), path);
    }

    /* The path, with what is searched for marked. Where lower case has another length, places are not the same. */
    function marked(path) {
      const lower = path.toLowerCase(), wanted = state.text.toLowerCase();
      const at = wanted && lower.length === path.length ? lower.indexOf(wanted) : -1;
      if (at < 0) return [path];
      const end = at + wanted.length;
      return [path.slice(0, at), make("mark", null, path.slice(at, end)), path.slice(end)];
    }

    /* ---- what somebody works with ---- */

    function controls() {
      const button = (text, act, more) => {
        const made = make("button", { type: "button", class: "button", ...more }, text);
        made.addEventListener("click", act);
        return made;
      };
      const changed = () => { filter(); state.page = 0; show(); };
      const search = make("input", { type: "search", id: "timeline-search", autocomplete: "off", spellcheck: "false",
        placeholder: "part of a path" });
      let waiting = 0;
      search.addEventListener("input", () => {
        clearTimeout(waiting);
        waiting = setTimeout(() => { state.text = search.value; changed(); }, 120);
      });
      const check = (text, act, more) => {
        const box = make("input", { type: "checkbox", ...more });
        box.addEventListener("change", () => { act(box.checked); changed(); });
        return make("label", { class: "check" }, box, text);
      };
      const letters = make("fieldset", null, make("legend", null, "Times"), ...LETTERS.split("").map((letter) =>
        check(`${letter} ${NAMES[letter]}`, (on) => state.letters[on ? "add" : "delete"](letter),
          { checked: true, value: letter })));
      const partition = make("select", { id: "timeline-partition" }, make("option", { value: -1 }, "all"),
        ...data.partitions.map((name, index) => make("option", { value: index }, name || "(none)")));
      partition.addEventListener("change", () => { state.partition = Number(partition.value); changed(); });

      const field = (name, id) => {
        const made = make("input", { type: "text", id, class: "moment", autocomplete: "off", spellcheck: "false",
          "aria-describedby": "timeline-form" });
        made.addEventListener("change", () => {
          const ends = [typed(from.value), typed(to.value)];
          made.toggleAttribute("aria-invalid", false);
          if (Number.isNaN(typed(made.value))) made.setAttribute("aria-invalid", "true");
          else if (ends[0] < ends[1]) zoom(ends[0], ends[1]);
          else made.setAttribute("aria-invalid", "true");
        });
        return [made, make("label", null, name, made)];
      };
      const [from, fromLabel] = field("From", "timeline-from"), [to, toLabel] = field("to", "timeline-to");
      const spans = [["All", 0], ...SPANS.filter(([, span]) => span < whole[1] - whole[0])].map(([text, span]) =>
        [button(text, () => (span ? zoom(latest - span, latest) : reset()), { "aria-pressed": "false" }), span]);

      const status = make("p", { class: "status", role: "status" }), readout = make("span", { "aria-hidden": "true" });
      const box = make("div", { class: "chart", id: "timeline-chart", tabindex: 0, role: "group",
        "aria-label": "Entries over time, as columns; columns of entries with findings are red",
        "aria-describedby": "timeline-keys" });
      const keys = { "+": () => closer(0.5), "=": () => closer(0.5), "-": () => closer(2), ArrowLeft: () => move(-0.25),
        ArrowRight: () => move(0.25), 0: reset, Home: reset, Escape: reset };
      box.addEventListener("keydown", (event) => {
        if (event.ctrlKey || event.altKey || event.metaKey || !keys[event.key]) return;
        event.preventDefault();
        keys[event.key]();
      });

      const turn = (page) => () => {
        state.page = Math.max(0, Math.min(state.pages - 1, page()));
        rows();
        parts.pages.scrollIntoView({ block: "nearest" });
      };
      const first = button("First", turn(() => 0)), previous = button("Previous", turn(() => state.page - 1));
      const next = button("Next", turn(() => state.page + 1)), last = button("Last", turn(() => state.pages - 1));
      const page = make("span", { class: "status", role: "status" });
      const head = make("th", { scope: "col" }), order = make("button", { type: "button" }, "Time (UTC)");
      order.addEventListener("click", () => { state.newest = !state.newest; state.page = 0; rows(); });
      head.append(order, make("span", { class: "printed", "aria-hidden": "true" }, order.textContent));
      const body = make("tbody");
      const title = (text, more) => make("th", { scope: "col", ...more }, text);
      const table = make("table", { class: "data entries" }, make("caption", { class: "vh" }, "Entries of the timeline"),
        make("thead", null, make("tr", null, head, title("macb"), title("Size", { class: "number" }), title("Part."),
          title("UID", { class: "number" }), title("Mode"), title("Path"))), body);
      const pages = make("div", { class: "bar pages" },
        make("div", { class: "buttons" }, first, previous, next, last), page);

      view.append(
        make("div", { class: "bar" }, make("label", { class: "grow" }, "Search", search), letters,
          data.partitions.length > 1 ? make("label", null, "Partition", partition) : null,
          check("only with findings", (on) => { state.findings = on; }, { id: "timeline-findings" })),
        make("div", { class: "bar" }, make("div", { class: "buttons", role: "group",
          "aria-label": "Time before the last entry" }, ...spans.map(([made]) => made)), fromLabel, toLabel,
        make("div", { class: "buttons" }, button("Zoom in", () => closer(0.5)), button("Zoom out", () => closer(2)),
          button("Earlier", () => move(-0.25)), button("Later", () => move(0.25)), button("Reset", reset)),
        make("span", { class: "vh", id: "timeline-form" }, "UTC, as 2026-09-12 03:41:17")),
        box,
        make("div", { class: "under" }, status, readout, make("span", { class: "key" }, make("i", { class: "all" }), "all ",
          make("i", { class: "with" }), "with findings"), make("span", { id: "timeline-keys", class: "keys" },
          "Drag to zoom, double click to reset. Keys on the chart: + and - zoom, arrows move, 0 resets.")),
        pages, make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": "Entries of the timeline" },
          table));
      return { search, from, to, spans, status, readout, chart: box, first, previous, next, last, page, head, body, pages };
    }

    /* From a finding to what happened to its file. */
    for (const row of document.querySelectorAll(".findings tbody tr")) {
      const path = row.dataset.path;
      if (!path) continue;
      const link = make("button", { type: "button", class: "link", "aria-label": `Timeline of ${path}` }, "in the timeline");
      link.addEventListener("click", () => {
        parts.search.value = state.text = path;
        filter();
        reset();
        document.getElementById("timeline").scrollIntoView();
        parts.search.focus({ preventScroll: true });
      });
      row.cells[row.cells.length - 1].append(link);
    }
  }

  unpack().then(start).catch((error) => {
    const message = typeof DecompressionStream === "undefined"
      ? "This browser is too old to unpack it (2023 or newer is needed)." : String(error && error.message || error);
    view.append(make("p", { class: "notice" }, `The timeline cannot be shown. ${message}`));
    view.hidden = false;
    console.error(error);
  });
})();
