/* popload: an epoll load generator for POP3 servers.
 *
 * Each of C concurrent connections runs one session after another, one account each in turn:
 *   greeting, USER, PASS, then the script (STAT, LIST, UIDL, RETR of messages 1..K), QUIT.
 * With --pipeline, everything after PASS goes out in one write. With --idle, each logs in and stays. With --sessions N, it ends
 * after so many.
 * Prints sessions/s, commands/s, MB/s received and the session latency percentiles, and the client's own CPU seconds.
 *
 * cc -O2 -o popload popload.c -lssl -lcrypto
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CROWD = 100 };       /* idle connections from one address */
static char *host = "127.0.0.1", *userfmt = "user%d", *password = "secret";
static int port = 110, conns = 8, users = 100, nretr = 0, do_list = 0, do_uidl = 0, pipeline = 0, tls = 0, resume = 0, dele = 0, idle = 0;
static long limit = 0, begun; /* sessions to begin at most, 0: as many as there is time for */
static double duration = 5;
static SSL_CTX *ctx;
static SSL_SESSION *saved;

struct conn {
  int fd, step, multi, account, greeted, handshaking, linelen, inlines;
  char line[1024];           /* the current line's first bytes */
  char prev[5];              /* the last bytes seen in a multi-line body */
  double t0;
  SSL *ssl;
  char *out; size_t outlen, outpos;
  int pending;               /* replies still owed */
};
static struct conn *cs;
static int ep, nsteps, next_account;
static char *taken;          /* accounts whose session is under way */
static long sessions, errors, commands, held; static unsigned long long bytes;
static double *lat; static long nlat, caplat;
static double deadline;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }

/* steps: 0 greeting, 1 USER, 2 PASS, 3 STAT, then LIST, UIDL, RETR..., DELE..., QUIT */
static int step_text(struct conn *c, int step, char *b, size_t n, int *multi) {
  *multi = 0;
  if (step == 1) { char u[128]; snprintf(u, sizeof u, userfmt, c->account); return snprintf(b, n, "USER %s\r\n", u); }
  if (step == 2) return snprintf(b, n, "PASS %s\r\n", password);
  if (step == 3) return snprintf(b, n, "STAT\r\n");
  step -= 4;
  if (do_list) { if (step == 0) { *multi = 1; return snprintf(b, n, "LIST\r\n"); } step--; }
  if (do_uidl) { if (step == 0) { *multi = 1; return snprintf(b, n, "UIDL\r\n"); } step--; }
  if (step < nretr) { *multi = 1; return snprintf(b, n, "RETR %d\r\n", step + 1); }
  step -= nretr;
  if (dele && step < nretr) return snprintf(b, n, "DELE %d\r\n", step + 1);
  return snprintf(b, n, "QUIT\r\n");
}

static void arm(struct conn *c, int mod) {
  struct epoll_event e = { .events = EPOLLIN | (c->outpos < c->outlen || c->handshaking == 2 ? EPOLLOUT : 0), .data.ptr = c };
  epoll_ctl(ep, mod ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &e);
}

static void start(struct conn *c) {
  if (c->ssl) { SSL_free(c->ssl); c->ssl = NULL; }
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  int one = 1; setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
  inet_pton(AF_INET, host, &a.sin_addr);
  if (idle) {                /* a crowd has several addresses: servers limit the connections of each */
    struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (c - cs) / CROWD) };
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(c->fd, (void *)&from, sizeof from) < 0) { perror("bind"); exit(1); }
  }
  begun++;
  if (connect(c->fd, (void *)&a, sizeof a) < 0 && errno != EINPROGRESS) { perror("connect"); exit(1); }
  do c->account = next_account++ % users; while (taken[c->account] && conns <= users);  /* a maildrop admits one session */
  taken[c->account] = 1;
  c->step = 0; c->multi = 0; c->linelen = 0; c->outlen = c->outpos = 0; c->inlines = 0; c->t0 = now(); c->pending = 1;
  memset(c->prev, 0, sizeof c->prev);
  c->handshaking = 0;
  if (tls) { c->ssl = SSL_new(ctx); SSL_set_fd(c->ssl, c->fd); SSL_set_connect_state(c->ssl); if (resume && saved) SSL_set_session(c->ssl, saved); c->handshaking = 2; }
  arm(c, 0);
}

static void finish(struct conn *c, int ok) {
  if (c->ssl) SSL_shutdown(c->ssl);
  close(c->fd);
  taken[c->account] = 0;
  if (ok) { sessions++; if (nlat == caplat) { caplat = caplat ? caplat * 2 : 65536; lat = realloc(lat, caplat * sizeof *lat); } lat[nlat++] = now() - c->t0; }
  else errors++;
  if (now() < deadline && !idle && (!limit || begun < limit)) start(c); else c->fd = -1;   /* an idle one that is refused is not tried again: it counts */
}

static int flush(struct conn *c) {
  while (c->outpos < c->outlen) {
    int n = c->ssl ? SSL_write(c->ssl, c->out + c->outpos, c->outlen - c->outpos) : write(c->fd, c->out + c->outpos, c->outlen - c->outpos);
    if (n <= 0) { if (!c->ssl && errno != EAGAIN) return -1; return 0; }
    c->outpos += n;
  }
  return 0;
}

static void say(struct conn *c) {   /* queue the next step (or all of the rest) */
  int multi, first = c->step + 1;
  c->outlen = c->outpos = 0;
  do {
    c->step++;
    c->out = realloc(c->out, c->outlen + 512);
    c->outlen += step_text(c, c->step, c->out + c->outlen, 512, &multi);
    commands++;
  } while (pipeline && first > 2 && c->step < nsteps);
  c->step = first;
  step_text(c, c->step, (char[512]){0}, 512, &c->multi);
}

/* returns -1 on failure, 1 when the session is over */
static int eat(struct conn *c, const char *p, size_t n) {
  while (n) {
    if (c->inlines) {          /* in a multi-line body: look for CRLF . CRLF across chunks */
      /* the status line ended with CRLF, so prev starts as \r\n */
      const char *end = NULL;
      char joint[16]; size_t k = n < 5 ? n : 5;
      memcpy(joint, c->prev, 5); memcpy(joint + 5, p, k);
      char *q = memmem(joint, 5 + k, "\r\n.\r\n", 5);
      if (q) end = p + (q + 5 - joint) - 5;
      else { char *r = memmem(p, n, "\r\n.\r\n", 5); if (r) end = r + 5; }
      size_t used = end ? (size_t)(end - p) : n;
      if (!end) {
        if (n >= 5) memcpy(c->prev, p + n - 5, 5);
        else { char t[10]; memcpy(t, c->prev, 5); memcpy(t + 5, p, n); memcpy(c->prev, t + n, 5); }
        return 0;
      }
      p += used; n -= used; c->inlines = 0;
    } else {
      const char *nl = memchr(p, '\n', n);
      size_t used = nl ? (size_t)(nl - p) + 1 : n;
      size_t room = sizeof c->line - 1 - c->linelen, take = used < room ? used : room;
      memcpy(c->line + c->linelen, p, take); c->linelen += take;
      p += used; n -= used;
      if (!nl) return 0;
      c->line[c->linelen] = 0;
      if (c->line[0] != '+') { static int told; if (told++ < 5) fprintf(stderr, "step %d: %s", c->step, c->line); return -1; }
      c->linelen = 0;
      if (c->multi) { c->inlines = 1; c->multi = 0; memset(c->prev, 0, 5); c->prev[3] = '\r'; c->prev[4] = '\n'; continue; }
    }
    /* one whole reply is in */
    if (c->step == nsteps) return 1;
    if (idle && c->step == 3) { held++; return 0; } /* logged in: stay */
    if (pipeline && c->step >= 3) { c->step++; step_text(c, c->step, (char[512]){0}, 512, &c->multi); }
    else { say(c); if (flush(c) < 0) return -1; }
  }
  return 0;
}

static int cmp(const void *a, const void *b) { double x = *(double *)a - *(double *)b; return x < 0 ? -1 : x > 0; }

int main(int argc, char **argv) {
  static struct option o[] = {{"host",1,0,'h'},{"port",1,0,'p'},{"conns",1,0,'c'},{"users",1,0,'u'},{"userfmt",1,0,'f'},{"password",1,0,'w'},{"retr",1,0,'r'},{"list",0,0,'l'},{"uidl",0,0,'i'},{"pipeline",0,0,'P'},{"tls",0,0,'t'},{"resume",0,0,'R'},{"seconds",1,0,'s'},{"dele",0,0,'d'},{"idle",0,0,'I'},{"sessions",1,0,'n'},{0,0,0,0}};
  int k;
  while ((k = getopt_long(argc, argv, "", o, 0)) != -1) switch (k) {
    case 'h': host = optarg; break; case 'p': port = atoi(optarg); break; case 'c': conns = atoi(optarg); break;
    case 'u': users = atoi(optarg); break; case 'f': userfmt = optarg; break; case 'w': password = optarg; break;
    case 'r': nretr = atoi(optarg); break; case 'l': do_list = 1; break; case 'i': do_uidl = 1; break;
    case 'P': pipeline = 1; break; case 't': tls = 1; break; case 'R': resume = 1; break; case 's': duration = atof(optarg); break;
    case 'd': dele = 1; break; case 'I': idle = 1; break; case 'n': limit = atol(optarg); break; default: return 2; }
  nsteps = 3 + do_list + do_uidl + nretr + (dele ? nretr : 0) + 1;
  if (tls) { ctx = SSL_CTX_new(TLS_client_method()); SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER); if (resume) SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT); }
  ep = epoll_create1(0);
  cs = calloc(conns, sizeof *cs);
  taken = calloc(users, 1);
  double t0 = now(); deadline = t0 + duration;
  struct rusage u0; getrusage(RUSAGE_SELF, &u0);
  for (int i = 0; i < conns; i++) start(&cs[i]);
  static char buf[1 << 18];
  for (;;) {
    int live = 0; for (int i = 0; i < conns; i++) live += cs[i].fd >= 0;
    if (!live) break;
    if (now() > deadline + 10 || (idle && now() > deadline)) break;
    struct epoll_event ev[256];
    int n = epoll_wait(ep, ev, 256, 200);
    for (int i = 0; i < n; i++) {
      struct conn *c = ev[i].data.ptr;
      if (c->fd < 0) continue;
      int bad = 0, over = 0;
      if (c->handshaking) {
        int r = SSL_do_handshake(c->ssl);
        if (r == 1) { c->handshaking = 0; arm(c, 1); }
        else { int e = SSL_get_error(c->ssl, r); if (e == SSL_ERROR_WANT_READ) { c->handshaking = 1; arm(c, 1); continue; } if (e == SSL_ERROR_WANT_WRITE) { c->handshaking = 2; arm(c, 1); continue; } finish(c, 0); continue; }
      }
      if (flush(c) < 0) { finish(c, 0); continue; }
      for (;;) {
        int r = c->ssl ? SSL_read(c->ssl, buf, sizeof buf) : read(c->fd, buf, sizeof buf);
        if (r > 0) { bytes += r; int s = eat(c, buf, r); if (s < 0) bad = 1; if (s > 0) over = 1; if (bad || over) break; if (!c->ssl && r < (int)sizeof buf) break; continue; }
        if (r == 0 && !c->ssl) { bad = 1; break; }
        if (c->ssl) { int e = SSL_get_error(c->ssl, r); if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE) bad = 1; } else if (errno != EAGAIN) bad = 1;
        break;
      }
      if (over) { if (resume) { SSL_SESSION *s = SSL_get1_session(c->ssl); if (saved) SSL_SESSION_free(saved); saved = s; } finish(c, 1); }
      else if (bad) finish(c, 0);
      else arm(c, 1);
    }
  }
  double t = now() - t0;
  struct rusage u1; getrusage(RUSAGE_SELF, &u1);
  double cpu = (u1.ru_utime.tv_sec - u0.ru_utime.tv_sec) + (u1.ru_stime.tv_sec - u0.ru_stime.tv_sec) + (u1.ru_utime.tv_usec - u0.ru_utime.tv_usec) / 1e6 + (u1.ru_stime.tv_usec - u0.ru_stime.tv_usec) / 1e6;
  qsort(lat, nlat, sizeof *lat, cmp);
  printf("{\"sessions\": %ld, \"errors\": %ld, \"held\": %ld, \"seconds\": %.3f, \"sessions_s\": %.1f, \"commands_s\": %.1f, \"mb_s\": %.2f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f, \"client_cpu_s\": %.2f}\n",
         sessions, errors, held, t, sessions / t, commands / t, bytes / t / 1e6,
         nlat ? lat[nlat / 2] * 1e3 : 0, nlat ? lat[(long)(nlat * .99)] * 1e3 : 0, nlat ? lat[nlat - 1] * 1e3 : 0, cpu);
  return errors > 0 && sessions == 0;
}
