// How the kernel's clock is kept, and datagrams to a local socket by its path.
#define _GNU_SOURCE
#include "include/CLinux.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/un.h>

int32_t sluice_clock_discipline(sluice_discipline *discipline) {
    struct timex t;
    memset(&t, 0, sizeof t);
    memset(discipline, 0, sizeof *discipline);
    int state = adjtimex(&t);
    if (state < 0) return -errno;
    discipline->is_synchronised = state != TIME_ERROR && (t.status & STA_UNSYNC) == 0;
    discipline->max_error_us = t.maxerror;
    return 0;
}

int32_t sluice_file_identity(int32_t fd, uint64_t *device, uint64_t *inode) {
    struct stat s;
    if (fstat(fd, &s) != 0) return -errno;
    *device = s.st_dev;
    *inode = s.st_ino;
    return 0;
}

int32_t sluice_unix_datagram_open(void) {
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd;
}

int32_t sluice_unix_datagram_send(
    int32_t fd, const char *path, const uint8_t *bytes, uint64_t count) {
    struct sockaddr_un to;
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof to.sun_path) return -ENAMETOOLONG;
    memset(&to, 0, sizeof to);
    to.sun_family = AF_UNIX;
    memcpy(to.sun_path, path, length);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    for (;;) {
        ssize_t n = sendto(
            fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT, (struct sockaddr *)&to, size);
        if (n >= 0) return 0;
        if (errno != EINTR) return -errno;
    }
}
