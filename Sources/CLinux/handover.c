// A program that starts itself anew with its sockets open: which they are stands in one variable of the
// environment, "PID RELOADS FD,DROPS,ANYPORT FD,DROPS,ANYPORT …".

#include "include/CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char variable[] = "SLUICE_SOCKETS";
enum { ENTRY_BYTES = 40, ARGUMENT_BYTES = 1 << 17, ARGUMENTS = 256 };

uint32_t sluice_handed_over(sluice_handed *list, uint32_t capacity, uint32_t *reloads) {
    const char *text = getenv(variable);
    uint32_t count = 0;
    long pid = 0;
    int used = 0;
    *reloads = 0;
    if (text == NULL) return 0;
    if (sscanf(text, "%ld %u%n", &pid, reloads, &used) == 2 && pid == (long)getpid()) {
        text += used;
        while (count < capacity
               && sscanf(text, " %d,%u,%u%n", &list[count].fd, &list[count].drops,
                         &list[count].has_any_port, &used) == 3) {
            text += used;
            count++;
        }
    } else {
        *reloads = 0;
    }
    unsetenv(variable);
    return count;
}

int32_t sluice_keep_open(int32_t fd) {
    int kept = fcntl(fd, F_DUPFD, 3);
    return kept < 0 ? -errno : kept;
}

// The arguments of this process; they live until it ends.
static char **own_arguments(void) {
    char *text = malloc(ARGUMENT_BYTES), **list = calloc(ARGUMENTS + 1, sizeof *list);
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    size_t size = 0;
    ssize_t n = 0;
    if (text == NULL || list == NULL || fd < 0) return NULL;
    while (size < ARGUMENT_BYTES - 1
           && (n = read(fd, text + size, ARGUMENT_BYTES - 1 - size)) > 0)
        size += (size_t)n;
    close(fd);
    text[size] = 0;
    // Cut short, they would mean something else.
    if (n != 0) return NULL;
    uint32_t count = 0;
    for (size_t at = 0; at < size && count < ARGUMENTS; count++) {
        list[count] = text + at;
        while (text[at] != 0) at++;
        at++;
    }
    return count == 0 || count == ARGUMENTS ? NULL : list;
}

int32_t sluice_start_anew(const sluice_handed *list, uint32_t count, uint32_t reloads) {
    char **arguments = own_arguments();
    size_t size = (size_t)ENTRY_BYTES * (count + 2), at;
    char *text = malloc(size);
    if (arguments == NULL || text == NULL) return -ENOMEM;
    at = (size_t)snprintf(text, size, "%ld %u", (long)getpid(), reloads);
    for (uint32_t i = 0; i < count && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, " %d,%u,%u", list[i].fd, list[i].drops,
                               list[i].has_any_port);
    if (at >= size || setenv(variable, text, 1) != 0) return -ENOMEM;
    // A signal that comes now waits until sluice_signal_bytes of the new program lets it in.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    // Not by its path: a newer version that was installed meanwhile begins with a restart.
    execv("/proc/self/exe", arguments);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -error;
}
