// Between sockaddr and our fixed-width endpoint; private to this folder.
#ifndef SLUICE_ADDRESS_H
#define SLUICE_ADDRESS_H
#include "include/CLinux.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static inline int sluice_is_ipv4(const sluice_endpoint *e) {
    return e->high == 0 && e->low >> 32 == 0xFFFF;
}

static inline void sluice_from_address(const struct sockaddr *from, sluice_endpoint *to) {
    memset(to, 0, sizeof *to);
    if (from->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)from;
        to->low = 0xFFFF00000000u | ntohl(v4->sin_addr.s_addr);
        to->port = ntohs(v4->sin_port);
    } else if (from->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)from;
        uint64_t half[2];
        memcpy(half, &v6->sin6_addr, sizeof half);
        to->high = be64toh(half[0]);
        to->low = be64toh(half[1]);
        to->port = ntohs(v6->sin6_port);
        to->scope = v6->sin6_scope_id;
    }
}

// As an address for an IPv6 or an IPv4 socket; its length.
static inline socklen_t sluice_to_address(
    const sluice_endpoint *from, int ipv6, struct sockaddr_in6 *to) {
    memset(to, 0, sizeof *to);
    if (!ipv6) {
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(from->port)};
        v4.sin_addr.s_addr = htonl((uint32_t)from->low);
        memcpy(to, &v4, sizeof v4);
        return sizeof v4;
    }
    uint64_t half[2] = {htobe64(from->high), htobe64(from->low)};
    to->sin6_family = AF_INET6;
    to->sin6_port = htons(from->port);
    to->sin6_scope_id = from->scope;
    memcpy(&to->sin6_addr, half, sizeof half);
    return sizeof *to;
}

#endif
