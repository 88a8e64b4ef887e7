// UDP: a slab that recvmmsg fills, answers by sendmmsg, the kernel's drop counter.
#define _GNU_SOURCE
#include "address.h"

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

void sluice_udp_buffer(int32_t fd, uint32_t buffer_bytes) {
    int size = buffer_bytes > 1u << 30 ? 1 << 30 : (int)buffer_bytes;
    // Forced beyond net.core.rmem_max where CAP_NET_ADMIN allows it, else up to that cap.
    if (size > 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

static void tell_drops_and_times(int fd) {
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
}

int32_t sluice_udp_open(const sluice_endpoint *at, uint32_t buffer_bytes, int32_t reuse_port) {
    struct sockaddr_in6 address;
    socklen_t length = sluice_to_address(at, !sluice_is_ipv4(at), &address);
    int fd = socket(address.sin6_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int one = 1, zero = 0;
    if (address.sin6_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    sluice_udp_buffer(fd, buffer_bytes);
    tell_drops_and_times(fd);
    if ((reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0)
        || bind(fd, (struct sockaddr *)&address, length) != 0) {
        int32_t failure = -errno;
        close(fd);
        return failure;
    }
    return fd;
}

uint32_t sluice_inherited_count(void) {
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    long sockets = 0;
    if (pid != NULL && count != NULL && strtol(pid, NULL, 10) == (long)getpid())
        sockets = strtol(count, NULL, 10);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return sockets > 0 && sockets <= 256 ? (uint32_t)sockets : 0;
}

int32_t sluice_inherited_prepare(int32_t fd) {
    int type = 0, listens = 0;
    socklen_t length = sizeof type;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0
        || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0)
        return SLUICE_INHERITED_OTHER;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (type == SOCK_DGRAM) {
        tell_drops_and_times(fd);
        return SLUICE_INHERITED_UDP;
    }
    length = sizeof listens;
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length);
    return type == SOCK_STREAM && listens ? SLUICE_INHERITED_TCP : SLUICE_INHERITED_OTHER;
}

int32_t sluice_meminfo_read(int32_t fd, sluice_meminfo *info) {
    uint32_t words[SK_MEMINFO_VARS] = {0};
    socklen_t length = sizeof words;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, words, &length) != 0) return -errno;
    info->receive_queued = words[SK_MEMINFO_RMEM_ALLOC];
    info->receive_buffer = words[SK_MEMINFO_RCVBUF];
    info->drops = words[SK_MEMINFO_DROPS];
    return 0;
}

// MARK: receiving

enum { CONTROL_BYTES = 64 };  // SCM_TIMESTAMPNS (32) and SO_RXQ_OVFL (24) with their headers

struct sluice_slab {
    uint32_t slots, slot_bytes;
    uint8_t *bytes;
    sluice_datagram *datagrams;
    struct mmsghdr *messages;
    struct iovec *vectors;
    struct sockaddr_in6 *senders;
    uint8_t *control;
};

sluice_slab *sluice_slab_make(uint32_t slots, uint32_t slot_bytes) {
    if (slots < 1 || slots > 1024 || slot_bytes < 64 || slot_bytes > 65536) return NULL;
    sluice_slab *slab = calloc(1, sizeof *slab);
    if (slab == NULL) return NULL;
    slab->slots = slots;
    slab->slot_bytes = slot_bytes;
    // malloc, not calloc: pages of slots that traffic never reaches are never touched.
    slab->bytes = malloc((size_t)slots * slot_bytes);
    slab->datagrams = calloc(slots, sizeof *slab->datagrams);
    slab->messages = calloc(slots, sizeof *slab->messages);
    slab->vectors = calloc(slots, sizeof *slab->vectors);
    slab->senders = calloc(slots, sizeof *slab->senders);
    slab->control = calloc(slots, CONTROL_BYTES);
    if (!slab->bytes || !slab->datagrams || !slab->messages || !slab->vectors || !slab->senders
        || !slab->control) {
        sluice_slab_free(slab);
        return NULL;
    }
    for (uint32_t i = 0; i < slots; i++) {
        slab->vectors[i] = (struct iovec){slab->bytes + (size_t)i * slot_bytes, slot_bytes};
        slab->messages[i].msg_hdr = (struct msghdr){
            .msg_name = &slab->senders[i],
            .msg_namelen = sizeof slab->senders[i],
            .msg_iov = &slab->vectors[i],
            .msg_iovlen = 1,
            .msg_control = slab->control + (size_t)i * CONTROL_BYTES,
            .msg_controllen = CONTROL_BYTES,
        };
    }
    return slab;
}

void sluice_slab_free(sluice_slab *slab) {
    if (slab == NULL) return;
    free(slab->bytes);
    free(slab->datagrams);
    free(slab->messages);
    free(slab->vectors);
    free(slab->senders);
    free(slab->control);
    free(slab);
}

const uint8_t *sluice_slab_bytes(const sluice_slab *slab) { return slab->bytes; }
const sluice_datagram *sluice_slab_datagrams(const sluice_slab *slab) { return slab->datagrams; }

int32_t sluice_slab_receive(sluice_slab *slab, int32_t fd, uint32_t *drops) {
    int n;
    do n = recvmmsg(fd, slab->messages, slab->slots, MSG_DONTWAIT, NULL);
    while (n < 0 && errno == EINTR);
    if (n < 0) return -errno;
    for (int i = 0; i < n; i++) {
        struct msghdr *header = &slab->messages[i].msg_hdr;
        sluice_datagram *datagram = &slab->datagrams[i];
        sluice_from_address(header->msg_name, &datagram->from);
        datagram->count = slab->messages[i].msg_len;
        datagram->is_truncated = (header->msg_flags & MSG_TRUNC) != 0;
        datagram->received_ms = 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
            if (c->cmsg_level != SOL_SOCKET) continue;
            if (c->cmsg_type == SCM_TIMESTAMPNS) {
                struct timespec t;
                memcpy(&t, CMSG_DATA(c), sizeof t);
                datagram->received_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
            } else if (c->cmsg_type == SO_RXQ_OVFL) {
                memcpy(drops, CMSG_DATA(c), sizeof *drops);
            }
        }
        header->msg_namelen = sizeof slab->senders[i];
        header->msg_controllen = CONTROL_BYTES;
    }
    return n;
}

// MARK: sending

int32_t sluice_send_batch(
    int32_t fd, int32_t ipv6, const uint8_t *bytes, const sluice_outgoing *items, uint32_t count) {
    struct mmsghdr messages[SLUICE_OUTGOING_MAX];
    struct iovec vectors[SLUICE_OUTGOING_MAX];
    struct sockaddr_in6 receivers[SLUICE_OUTGOING_MAX];
    if (count > SLUICE_OUTGOING_MAX) count = SLUICE_OUTGOING_MAX;
    memset(messages, 0, count * sizeof messages[0]);
    for (uint32_t i = 0; i < count; i++) {
        vectors[i] = (struct iovec){(void *)(bytes + items[i].offset), items[i].count};
        messages[i].msg_hdr.msg_name = &receivers[i];
        messages[i].msg_hdr.msg_namelen = sluice_to_address(&items[i].to, ipv6, &receivers[i]);
        messages[i].msg_hdr.msg_iov = &vectors[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    int n;
    do n = sendmmsg(fd, messages, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}
