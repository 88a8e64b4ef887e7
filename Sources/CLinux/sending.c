// See CLinuxSending.h. _GNU_SOURCE stays in this file: in a header it would collide with Glibc's
// module.
#define _GNU_SOURCE
#include "CLinuxSending.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_MAX = 256, WAIT_MAX = 256 };

int32_t sluice_sending_resolve(const char *host, uint8_t address[16], uint32_t *scope) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM}, *found = NULL;
    if (getaddrinfo(host, NULL, &hints, &found) != 0 || found == NULL) return -EHOSTUNREACH;
    *scope = 0;
    if (found->ai_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)found->ai_addr;
        memset(address, 0, 10);
        address[10] = address[11] = 0xFF;
        memcpy(address + 12, &in->sin_addr, 4);
    } else {
        const struct sockaddr_in6 *in6 = (const void *)found->ai_addr;
        memcpy(address, &in6->sin6_addr, 16);
        *scope = in6->sin6_scope_id;
    }
    freeaddrinfo(found);
    return 0;
}

static socklen_t socket_address(const uint8_t address[16], uint16_t port, uint32_t scope,
                                struct sockaddr_storage *out) {
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    memset(out, 0, sizeof *out);
    if (memcmp(address, mapped, 12) == 0) {
        struct sockaddr_in *in = (void *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, address + 12, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (void *)out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    in6->sin6_scope_id = scope;
    memcpy(&in6->sin6_addr, address, 16);
    return sizeof *in6;
}

static int32_t open_connected(const uint8_t address[16], uint16_t port, uint32_t scope, int type,
                              int32_t buffer) {
    struct sockaddr_storage to;
    socklen_t length = socket_address(address, port, scope, &to);
    int fd = socket(to.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    if (buffer > 0) {
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    }
    int yes = 1;
    if (type == SOCK_STREAM) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(fd, (void *)&to, length) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int32_t sluice_sending_open_datagram(const uint8_t address[16], uint16_t port, uint32_t scope,
                                     int32_t buffer) {
    return open_connected(address, port, scope, SOCK_DGRAM, buffer);
}

int32_t sluice_sending_open_stream(const uint8_t address[16], uint16_t port, uint32_t scope) {
    return open_connected(address, port, scope, SOCK_STREAM, 0);
}

int32_t sluice_sending_connect_result(int32_t fd) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return -errno;
    return -error;
}

int64_t sluice_sending_send(int32_t fd, const uint8_t *bytes, int64_t count) {
    ssize_t sent = send(fd, bytes, (size_t)count, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

int32_t sluice_sending_send_many(int32_t fd, const uint8_t *bytes, int32_t size, int32_t count) {
    struct mmsghdr messages[BATCH_MAX];
    struct iovec slots[BATCH_MAX];
    if (count > BATCH_MAX) count = BATCH_MAX;
    for (int32_t i = 0; i < count; i++) {
        slots[i] = (struct iovec){(void *)(bytes + (int64_t)i * size), (size_t)size};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &slots[i], .msg_iovlen = 1};
    }
    int sent = sendmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

int64_t sluice_sending_receive(int32_t fd, uint8_t *bytes, int64_t capacity) {
    ssize_t received = recv(fd, bytes, (size_t)capacity, MSG_DONTWAIT);
    return received < 0 ? -errno : received;
}

int32_t sluice_sending_shutdown(int32_t fd) { return shutdown(fd, SHUT_WR) < 0 ? -errno : 0; }

void sluice_sending_close(int32_t fd) { close(fd); }

int32_t sluice_poller_open(void) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int32_t control(int32_t poller, int operation, int32_t fd, uint32_t token, uint32_t events) {
    struct epoll_event event = {.data.u32 = token};
    if (events & 1) event.events |= EPOLLIN;
    if (events & 2) event.events |= EPOLLOUT;
    return epoll_ctl(poller, operation, fd, &event) < 0 ? -errno : 0;
}

int32_t sluice_poller_add(int32_t poller, int32_t fd, uint32_t token, uint32_t events) {
    return control(poller, EPOLL_CTL_ADD, fd, token, events);
}

int32_t sluice_poller_change(int32_t poller, int32_t fd, uint32_t token, uint32_t events) {
    return control(poller, EPOLL_CTL_MOD, fd, token, events);
}

int32_t sluice_poller_remove(int32_t poller, int32_t fd) {
    return epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL) < 0 ? -errno : 0;
}

int32_t sluice_poller_wait(int32_t poller, uint32_t *tokens, uint32_t *events, int32_t capacity,
                           int64_t nanoseconds) {
    struct epoll_event ready[WAIT_MAX];
    if (capacity > WAIT_MAX) capacity = WAIT_MAX;
    if (nanoseconds < 0) nanoseconds = 0;
    struct timespec limit = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    int count = epoll_pwait2(poller, ready, capacity, &limit, NULL);
    if (count < 0 && errno == ENOSYS) {
        // Kernels before 5.11: milliseconds, rounded up so that a short wait does not spin.
        count = epoll_wait(poller, ready, capacity, (int)((nanoseconds + 999999) / 1000000));
    }
    if (count < 0) return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < count; i++) {
        tokens[i] = ready[i].data.u32;
        events[i] = 0;
        if (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) events[i] |= 1;
        if (ready[i].events & (EPOLLOUT | EPOLLERR)) events[i] |= 2;
    }
    return count;
}

int32_t sluice_sending_try_port(int32_t is_stream, uint16_t port) {
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_port = htons(port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, (is_stream ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int32_t result = bind(fd, (void *)&here, sizeof here) < 0 ? -errno : 0;
    close(fd);
    return result;
}

static int64_t clock_value(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t sluice_sending_now(void) { return clock_value(CLOCK_MONOTONIC); }
int64_t sluice_thread_cpu(void) { return clock_value(CLOCK_THREAD_CPUTIME_ID); }
int64_t sluice_sending_wall(void) { return clock_value(CLOCK_REALTIME); }

void sluice_sending_sleep_until(int64_t nanoseconds) {
    struct timespec until = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) continue;
}

void sluice_sending_sharpen_timers(void) { prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0); }

static void interrupts(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    struct sigaction hangup;
    // A blocked signal is kept even when ignored: under nohup it must not end us.
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaddset(set, SIGHUP);
}

void sluice_interrupts_block(void) {
    sigset_t set;
    interrupts(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

// Between fork and exec: async-signal-safe calls only, other threads may hold any lock.
static void become(
    const char *path, char *const *arguments, int output, int report, pid_t parent, int tied) {
    sigset_t none;
    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    int ready = setpgid(0, 0) == 0 && dup2(output, STDOUT_FILENO) >= 0
                && dup2(output, STDERR_FILENO) >= 0
                && (!tied || prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) == 0);
    // The parent may have died before the kernel was asked to tell.
    if (ready && tied && getppid() != parent) _exit(127);
    if (ready && sigprocmask(SIG_SETMASK, &none, NULL) == 0) execve(path, arguments, environ);
    int code = errno;
    while (write(report, &code, sizeof code) < 0 && errno == EINTR) continue;
    _exit(127);
}

int32_t sluice_sending_spawn(const char *path, char *const *arguments, int32_t output) {
    int report[2], code = 0;
    pid_t parent = getpid();
    int tied = gettid() == parent;
    if (pipe2(report, O_CLOEXEC) != 0) return -errno;
    pid_t child = fork();
    if (child == 0) become(path, arguments, output, report[1], parent, tied);
    if (child < 0) code = errno;
    close(report[1]);
    // The pipe closes at exec; what comes before is why there was none.
    if (child > 0) {
        ssize_t n;
        do n = read(report[0], &code, sizeof code);
        while (n < 0 && errno == EINTR);
        if (n != sizeof code) code = 0;
    }
    close(report[0]);
    if (code == 0) return child;
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) continue;
    return -code;
}

int32_t sluice_sending_own_network(void) { return unshare(CLONE_NEWNET) == 0 ? 0 : -errno; }

int32_t sluice_interrupts_wait(int64_t nanoseconds) {
    sigset_t set;
    interrupts(&set);
    struct timespec limit = {nanoseconds / 1000000000, nanoseconds % 1000000000};
    int signal = sigtimedwait(&set, NULL, &limit);
    return signal > 0 ? signal : 0;
}
