/* Both ends of many sessions of a proxy, in one process: clients that come, talk, return and leave,
 * and the server behind. So the way of a message is nothing but the proxy's, and what the server
 * sees of each session is known. sessions.py builds and steers it: a command a line on standard
 * input, and for each a line on standard output, {"done": 5, "dials": 5, "seconds": 0.1}, where
 * dials are the connections that the server got; or {"error": "..."}, and it ends.
 *
 * usage: sessions PROXY_PORT SERVER_PORT [FILE with the authority of the proxy's certificate]
 *
 *   open N      so many more sessions, each with a connection id by which it can return
 *   visit N     so many come and leave, each as soon as it is there; no other may be open
 *   return      each client's connection breaks, and it comes back with its id
 *   redial      all the server's connections break at once; done when the proxy has dialled anew
 *   ask N       N times each client in turn: a message, which the server answers with the same;
 *               with all round trips, in seconds, as "trips"
 *   leave       each client closes its session
 *
 * open, visit, return and leave have AT_ONCE of them under way. A session is there when the server
 * has it too: some proxies answer the client first. Every handshake is checked, and every message
 * compared; whatever else comes is an error, and so is an end that nobody asked for.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { AT_ONCE = 50, MOST = 200000, ROOM = 2048, SIZE = 64, EVENTS = 256, PATIENCE = 60000 };
enum { TEXT = 0x81, CLOSE = 0x88, PING = 0x89, PONG = 0x8a }; /* RFC 6455, 5.2: whole messages */
enum task { OPEN, VISIT, RETURN, REDIAL, ASK, LEAVE };
enum phase { CONNECTING, SECURING, GREETING, GREETED, LEAVING };

struct end { /* of one connection; the server's have no session until their request is here */
    int fd, filled;
    enum phase phase;
    SSL *tls;
    struct session *session;
    struct end *next_dropped;
    unsigned char data[ROOM];
};

struct session {
    int number;
    struct end *client, *server;
    unsigned char said[SIZE];
    double began;
};

static const char KEY[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
static int own, poll_fd, proxy_port, asked, done, dials;
static int first, opened; /* the sessions that are open: from that number up to before this */
static enum task task;
static struct session sessions[MOST];
static struct end *commands, *arrivals;
static struct end *dropped; /* freed when no event can be for them any more */
static SSL_CTX *secure;
static double *trips;

static void fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("{\"error\": \"", stdout);
    vprintf(format, list);
    puts("\"}");
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

/* -- Connections ------------------------------------------------------------------------------- */

static struct end *watch(int fd, enum phase phase)
{
    struct end *end = calloc(1, sizeof *end);
    struct epoll_event event = {phase == CONNECTING ? EPOLLOUT : EPOLLIN, {end}};
    int on = 1;
    end->fd = fd;
    end->phase = phase;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event))
        fail("a socket: %s", strerror(errno));
    return end;
}

static void drop(struct end *end, int breaks)
{
    struct linger reset = {1, 0};
    if (breaks)
        setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    else if (end->tls)
        SSL_shutdown(end->tls);
    close(end->fd); /* epoll forgets it */
    SSL_free(end->tls);
    end->fd = -1;
    end->next_dropped = dropped;
    dropped = end;
    if (end->session && end->session->client == end)
        end->session->client = NULL;
    if (end->session && end->session->server == end)
        end->session->server = NULL;
}

static void put(struct end *end, const void *data, int size)
{
    int sent = end->tls ? SSL_write(end->tls, data, size) : (int)write(end->fd, data, size);
    if (sent != size && end->phase != LEAVING)
        fail("%d bytes were to be sent, %d were: %s", size, sent, strerror(errno));
}

static void put_frame(struct end *end, int opcode, const unsigned char *payload, int size)
{
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    unsigned char frame[6 + 125] = {opcode, size};
    int start = 2;
    if (end->session->client == end) {
        frame[1] |= 0x80;
        memcpy(frame + 2, mask, 4);
        start = 6;
    }
    for (int i = 0; i < size; i++)
        frame[start + i] = payload[i] ^ (start == 6 ? mask[i & 3] : 0);
    put(end, frame, start + size);
}

static int get(struct end *end) /* bytes; 0: none now; -1: no more */
{
    void *room = end->data + end->filled;
    int size = ROOM - 1 - end->filled;
    if (end->tls) {
        size = SSL_read(end->tls, room, size);
        return size > 0 ? size : -(SSL_get_error(end->tls, size) != SSL_ERROR_WANT_READ);
    }
    size = read(end->fd, room, size);
    return size > 0 ? size : -(size == 0 || errno != EAGAIN);
}

/* -- Handshakes -------------------------------------------------------------------------------- */

static void accept_key(const char *key, char *accept) /* RFC 6455, 4.2.2 */
{
    unsigned char both[128], digest[SHA_DIGEST_LENGTH];
    int size = snprintf((char *)both, sizeof both, "%.24s%s", key, GUID);
    SHA1(both, size, digest);
    EVP_EncodeBlock((unsigned char *)accept, digest, sizeof digest);
}

static void connect_client(struct session *session)
{
    struct sockaddr_in proxy = {AF_INET, htons(proxy_port), {htonl(INADDR_LOOPBACK)}, ""};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(fd, (struct sockaddr *)&proxy, sizeof proxy) && errno != EINPROGRESS)
        fail("can't connect: %s", strerror(errno));
    session->client = watch(fd, CONNECTING);
    session->client->session = session;
}

static void greet(struct end *client) /* it is connected: TLS, then the request */
{
    struct epoll_event event = {EPOLLIN, {client}};
    char request[512];
    int size;
    if (client->phase == CONNECTING) {
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, client->fd, &event);
        client->phase = SECURING;
        if (secure && (client->tls = SSL_new(secure)))
            SSL_set_fd(client->tls, client->fd);
    }
    if (client->tls && (size = SSL_connect(client->tls)) != 1) {
        if (SSL_get_error(client->tls, size) != SSL_ERROR_WANT_READ)
            fail("a TLS handshake failed");
        return;
    }
    client->phase = GREETING;
    put(client, request,
        snprintf(request, sizeof request,
                 "GET /%d/%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: Mozilla/5.0\r\n"
                 "Origin: http://127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n"
                 "X-Connection-Id: session-%d-%d\r\n\r\n",
                 own, client->session->number, proxy_port, KEY, own, client->session->number));
}

static void leave(struct session *session)
{
    session->client->phase = LEAVING;
    put_frame(session->client, CLOSE, (const unsigned char *)"\x03\xe8", 2); /* 1000 */
}

static void see(struct session *session) /* of its two handshakes one more is done */
{
    if (!session->client || session->client->phase != GREETED || !session->server)
        return;
    if (task == VISIT)
        leave(session);
    else
        done++;
}

static void read_answer(struct end *client, char *head)
{
    static const char name[] = "\r\nSec-WebSocket-Accept: ";
    char accept[64], *field = strcasestr(head, name);
    accept_key(KEY, accept);
    if (strncmp(head, "HTTP/1.1 101 ", 13) || !field ||
        strncmp(field + sizeof name - 1, accept, strlen(accept)))
        fail("the answer to a handshake was %.*s", (int)strcspn(head, "\r\n\""), head);
    client->phase = GREETED;
    see(client->session);
}

static void answer_request(struct end *server, char *head)
{
    char *key = strcasestr(head, "\r\nsec-websocket-key:"), accept[64], answer[256];
    int whose, number;
    if (!key || sscanf(head, "GET /%d/%d HTTP/1.1", &whose, &number) != 2)
        fail("a request that no client has made");
    if (whose != own) { /* a proxy that hasn't forgotten a loader before this one */
        drop(server, 0);
        return;
    }
    if (number < first || number >= opened)
        fail("a request of session %d, which is over", number);
    if (sessions[number].server)
        fail("session %d has two server connections", number);
    server->session = &sessions[number];
    server->session->server = server;
    server->phase = GREETED;
    accept_key(key + 20 + strspn(key + 20, " \t"), accept);
    put(server, answer,
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                 "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept));
    dials++;
    see(server->session);
}

/* -- Frames ------------------------------------------------------------------------------------ */

static void say(struct session *session)
{
    snprintf((char *)session->said, SIZE, "session %08d says %08d", session->number, done);
    session->began = now();
    put_frame(session->client, TEXT, session->said, SIZE);
}

static void read_frame(struct end *end, int opcode, const unsigned char *payload, int size)
{
    struct session *session = end->session;
    int is_client = session->client == end;
    if (opcode == PING) {
        put_frame(end, PONG, payload, size);
    } else if (opcode == CLOSE && !is_client) {
        end->phase = LEAVING;
        put_frame(end, CLOSE, payload, size);
        shutdown(end->fd, SHUT_WR);
    } else if (opcode == TEXT && !is_client) {
        put_frame(end, TEXT, payload, size);
    } else if (opcode == TEXT && task == ASK) {
        if (size != SIZE || memcmp(payload, session->said, SIZE))
            fail("session %d got a message that nobody sent", session->number);
        trips[done++] = now() - session->began;
        memset(session->said, 0, SIZE); /* it may come once */
    } else if (opcode != PONG && !(opcode == CLOSE && end->phase == LEAVING)) {
        fail("session %d got a frame with first byte %d", session->number, opcode);
    }
}

static int read_frames(struct end *end) /* the bytes of those that are here whole */
{
    int at = 0, left, size, start;
    while ((left = end->filled - at) >= 2) {
        unsigned char *frame = end->data + at;
        size = frame[1] & 0x7f;
        start = frame[1] & 0x80 ? 6 : 2;
        if (size > 125)
            fail("a frame that is longer than any that was sent");
        if (left < start + size)
            break;
        for (int i = 0; start == 6 && i < size; i++)
            frame[6 + i] ^= frame[2 + (i & 3)];
        read_frame(end, frame[0], frame + start, size);
        at += start + size;
    }
    return at;
}

static int read_head(struct end *end) /* its bytes, when it is whole */
{
    char *head = (char *)end->data, *last;
    end->data[end->filled] = 0;
    if (!(last = strstr(head, "\r\n\r\n")))
        return 0;
    if (end->session)
        read_answer(end, head);
    else
        answer_request(end, head);
    return last + 4 - head;
}

static void serve(struct end *end)
{
    int size = 0, used;
    if (end->phase <= SECURING) {
        greet(end);
        return;
    }
    while (end->fd >= 0 && (size = get(end)) > 0) {
        end->filled += size;
        do {
            used = end->phase == GREETING ? read_head(end) : read_frames(end);
            end->filled -= used;
            memmove(end->data, end->data + used, end->filled);
        } while (used && end->filled);
    }
    if (size < 0) {
        if (end->session && end->session->client == end) {
            if (end->phase != LEAVING)
                fail("session %d was ended", end->session->number);
            done++;
        }
        drop(end, 0);
    }
}

/* -- Commands ---------------------------------------------------------------------------------- */

static void turn(int patience)
{
    struct epoll_event events[EVENTS];
    struct end *end;
    int count = epoll_wait(poll_fd, events, EVENTS, patience);
    if (!count)
        fail("nothing happens any more: %d done", done);
    for (int i = 0; i < count; i++) {
        end = events[i].data.ptr;
        if (end == commands)
            asked = 1;
        else if (end == arrivals)
            for (int fd; (fd = accept4(end->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0;)
                watch(fd, GREETING);
        else if (end->fd >= 0)
            serve(end);
    }
    while ((end = dropped)) {
        dropped = end->next_dropped;
        free(end);
    }
}

static void begin(struct session *session)
{
    session->number = opened++;
    connect_client(session);
}

static void come_back(struct session *session)
{
    drop(session->client, 1);
    connect_client(session);
}

static void lose_server(struct session *session)
{
    drop(session->server, 1);
}

static void run(enum task what, void start(struct session *), int count)
{
    double began = now();
    int started = 0, there = opened - first, is_new = what == OPEN || what == VISIT;
    int at_once = what == REDIAL ? count : what == ASK ? 1 : AT_ONCE;
    if (count < 1 || (is_new && opened + count > MOST) || (what == VISIT && there))
        fail("%d sessions, and %d are open", count, there);
    task = what;
    done = dials = 0;
    trips = calloc(count, sizeof *trips);
    for (; done < count; turn(PATIENCE))
        for (; started < count && started - done < at_once; started++)
            start(&sessions[is_new ? opened : first + started % there]);
    if (what == VISIT || what == LEAVE)
        first = opened;
    printf("{\"done\": %d, \"dials\": %d, ", done, dials);
    printf("\"seconds\": %.6f, \"trips\": [", now() - began);
    for (int i = 0; what == ASK && i < done; i++)
        printf(i ? ", %.9f" : "%.9f", trips[i]);
    puts("]}");
    free(trips);
}

static void obey(void)
{
    static const struct {
        const char *word;
        enum task task;
        void (*start)(struct session *);
    } known[] = {{"open", OPEN, begin}, {"visit", VISIT, begin}, {"return", RETURN, come_back},
                 {"redial", REDIAL, lose_server}, {"ask", ASK, say}, {"leave", LEAVE, leave}};
    char line[64], word[16] = "";
    int count = 1, there = opened - first;
    if (!fgets(line, sizeof line, stdin))
        exit(0);
    sscanf(line, "%15s %d", word, &count);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(word, known[i].word)) {
            run(known[i].task, known[i].start, known[i].task > VISIT ? count * there : count);
            return;
        }
    fail("%s is no command", word);
}

int main(int count, char **words)
{
    struct sockaddr_in here = {AF_INET, htons(atoi(words[2])), {htonl(INADDR_LOOPBACK)}, ""};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdin, NULL, _IONBF, 0);
    setvbuf(stdout, NULL, _IOLBF, 0);
    proxy_port = atoi(words[1]);
    own = getpid();
    if (count > 3) {
        secure = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_verify(secure, SSL_VERIFY_PEER, NULL);
        if (SSL_CTX_load_verify_locations(secure, words[3], NULL) != 1)
            fail("%s: no certificate", words[3]);
    }
    poll_fd = epoll_create1(0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&here, sizeof here) || listen(fd, 4096))
        fail("port %s: %s", words[2], strerror(errno));
    commands = watch(STDIN_FILENO, GREETED);
    arrivals = watch(fd, GREETED);
    for (;;) {
        turn(-1);
        if (asked)
            obey();
        asked = 0;
    }
}
