// The least work a receiver of datagrams can do, for `sluice load --rate max`: poll and recvmmsg, and a
// count for whoever asks. One process, one thread, until it is killed.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sink.h"

enum { BATCH = 64, DATAGRAM = 2048 };

static const char question[8] = {'S', 'L', 'c', 'o', 'u', 'n', 't', '?'};

int32_t sluice_bare_sink(uint16_t port) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 8 << 20;
    if (fd < 0) return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_port = htons(port),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (const void *)&here, sizeof here) != 0) {
        int32_t result = -errno;
        close(fd);
        return result;
    }
    static struct mmsghdr messages[BATCH];
    static struct iovec slots[BATCH];
    static struct sockaddr_in senders[BATCH];
    static char slab[BATCH][DATAGRAM];
    for (int i = 0; i < BATCH; i++) {
        slots[i] = (struct iovec){slab[i], DATAGRAM};
        messages[i].msg_hdr =
            (struct msghdr){.msg_name = &senders[i], .msg_iov = &slots[i], .msg_iovlen = 1};
    }
    uint64_t datagrams = 0;
    for (;;) {
        struct pollfd ready = {fd, POLLIN, 0};
        poll(&ready, 1, -1);
        for (;;) {
            for (int i = 0; i < BATCH; i++) messages[i].msg_hdr.msg_namelen = sizeof senders[i];
            int n = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
            if (n <= 0) break;
            for (int i = 0; i < n; i++) {
                if (messages[i].msg_len != sizeof question
                    || memcmp(slab[i], question, sizeof question) != 0) {
                    datagrams++;
                    continue;
                }
                // Both ends are this machine: its byte order will do.
                sendto(fd, &datagrams, sizeof datagrams, 0, (const void *)&senders[i],
                       sizeof senders[i]);
            }
        }
    }
}
