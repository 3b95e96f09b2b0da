/* Copyright (c) 2026 The dfir.aws authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The floor: what receiving, hashing and writing the blocks of a snapshot costs when nothing else is done.
 *
 *   ebs_floor HOST PORT REQUESTS OUTPUT CONNECTIONS CA|-
 *
 * REQUESTS holds ready, signed requests: for each a line "<block index> <length>\n" and so many bytes. Prints one line:
 * CPU seconds, wall seconds, blocks. Answers are read in the order of the questions. With a CA it speaks TLS.
 */
#define _GNU_SOURCE
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#define BLOCK 524288
#define ROOM (BLOCK + 16384)

struct request { long index; long length; char *bytes; };
struct connection { int fd; SSL *tls; };

static void die(const char *what) { perror(what); exit(2); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static long take(struct connection *c, char *to, long most, int all) {
    if (c->tls) return SSL_read(c->tls, to, (int)most);
    return recv(c->fd, to, most, all ? MSG_WAITALL : 0);
}

static void ask(struct connection *c, struct request *r) {
    long sent = c->tls ? SSL_write(c->tls, r->bytes, (int)r->length) : send(c->fd, r->bytes, r->length, 0);
    if (sent != r->length) die("send");
}

int main(int argc, char **argv) {
    if (argc != 7) { fprintf(stderr, "usage: ebs_floor HOST PORT REQUESTS OUTPUT CONNECTIONS CA|-\n"); return 2; }
    int connections = atoi(argv[5]), secure = strcmp(argv[6], "-") != 0;
    FILE *in = fopen(argv[3], "rb");
    if (!in) die(argv[3]);
    long count = 0, room = 1024;
    struct request *requests = malloc(room * sizeof *requests);
    long index, length;
    while (fscanf(in, "%ld %ld", &index, &length) == 2 && fgetc(in) == '\n') {
        if (count == room) requests = realloc(requests, (room *= 2) * sizeof *requests);
        requests[count] = (struct request){index, length, malloc(length)};
        if (fread(requests[count].bytes, 1, length, in) != (size_t)length) die("requests");
        count++;
    }
    SSL_CTX *context = NULL;
    if (secure) {
        context = SSL_CTX_new(TLS_client_method());
        if (SSL_CTX_load_verify_locations(context, argv[6], NULL) != 1) die("ca");
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *where;
    if (getaddrinfo(argv[1], argv[2], &hints, &where)) die("address");
    int out = open(argv[4], O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (out < 0) die(argv[4]);
    char *buffer = malloc(ROOM);
    unsigned char digest[32];
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    double cpu_began = cpu(), began = now();
    struct connection *all = calloc(connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        int one = 1;
        all[i].fd = socket(where->ai_family, SOCK_STREAM, 0);
        if (connect(all[i].fd, where->ai_addr, where->ai_addrlen)) die("connect");
        setsockopt(all[i].fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (secure) {
            all[i].tls = SSL_new(context);
            SSL_set_fd(all[i].tls, all[i].fd);
            if (SSL_connect(all[i].tls) != 1) die("tls");
        }
        if (i < count) ask(&all[i], &requests[i]);
    }
    for (long k = 0; k < count; k++) {
        struct connection *c = &all[k % connections];
        long got = take(c, buffer, ROOM, 0);
        char *body = got > 0 ? memmem(buffer, got, "\r\n\r\n", 4) : NULL;
        if (!body || memcmp(buffer, "HTTP/1.1 200", 12)) die("answer");
        body += 4;
        long whole = (body - buffer) + BLOCK;
        while (got < whole) {
            long more = take(c, buffer + got, whole - got, 1);
            if (more <= 0) die("body");
            got += more;
        }
        if (k + connections < count) ask(c, &requests[k + connections]);
        EVP_DigestInit_ex(hash, EVP_sha256(), NULL);
        EVP_DigestUpdate(hash, body, BLOCK);
        EVP_DigestFinal_ex(hash, digest, NULL);
        if (pwrite(out, body, BLOCK, requests[k].index * (long)BLOCK) != BLOCK) die("write");
    }
    printf("%.6f %.6f %ld\n", cpu() - cpu_began, now() - began, count);
    return 0;
}
