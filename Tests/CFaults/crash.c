#define _GNU_SOURCE
#include "crash.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned long long draw(unsigned long long *state, unsigned long long below) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return below ? *state % below : 0;
}

static void copy_file(const char *from, const char *to) {
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char part[1 << 16];
    ssize_t n;
    while (in >= 0 && out >= 0 && (n = read(in, part, sizeof part)) > 0)
        if (write(out, part, (size_t)n) != n) break;
    close(in);
    close(out);
}

static void copy_all(const char *folder, const char *to) {
    mkdir(to, 0700);
    DIR *all = opendir(folder);
    struct dirent *entry;
    char a[600], b[600];
    while (all && (entry = readdir(all))) {
        if (entry->d_name[0] == '.') continue;
        snprintf(a, sizeof a, "%s/%s", folder, entry->d_name);
        snprintf(b, sizeof b, "%s/%s", to, entry->d_name);
        copy_file(a, b);
    }
    if (all) closedir(all);
}

/// The copy's file of a write; < 0 when it is in another folder or gone.
static int open_copy(struct unflushed *write, const char *folder, const char *to) {
    size_t length = strlen(folder);
    if (strncmp(write->path, folder, length) != 0 || write->path[length] != '/') return -1;
    char path[600];
    snprintf(path, sizeof path, "%s%s", to, write->path + length);
    return open(path, O_RDWR);
}

static void take_back(int file, struct unflushed *write) {
    write->after = malloc((size_t)write->count + 1);
    memset(write->after, 0, (size_t)write->count + 1);
    if (write->count && pread(file, write->after, (size_t)write->count, write->offset) < 0) return;
    if (write->had && pwrite(file, write->bytes, (size_t)write->had, write->offset) < 0) return;
    if (ftruncate(file, write->size) != 0) return;
}

/// All, a part, or nothing of a write reached the device.
static void take_again(
    int file, struct unflushed *write, int isWhole, unsigned long long *random) {
    unsigned long long fate = isWhole ? 9 : draw(random, 10);
    if (fate < 3) return;
    if (write->isTruncation) {
        if (ftruncate(file, write->offset) != 0) return;
        return;
    }
    long long count = write->count;
    if (fate < 5) count = (long long)draw(random, (unsigned long long)count + 1);
    if (count && pwrite(file, write->after, (size_t)count, write->offset) < 0) return;
}

void crash_copy(const char *folder, const char *to, struct unflushed *newest, unsigned long long seed) {
    unsigned long long random = seed | 1;
    copy_all(folder, to);
    int count = 0;
    for (struct unflushed *w = newest; w; w = w->older) count++;
    struct unflushed **all = malloc(sizeof *all * (size_t)(count + 1));
    int at = count;
    for (struct unflushed *w = newest; w; w = w->older) {
        all[--at] = w;
        int file = open_copy(w, folder, to);
        if (file < 0) continue;
        take_back(file, w);
        close(file);
    }
    // Often nothing or all of it; else each for itself.
    unsigned long long fate = draw(&random, 4);
    for (int i = 0; i < count; i++) {
        if (!all[i]->after) continue;
        int file = open_copy(all[i], folder, to);
        if (file >= 0 && fate != 0) take_again(file, all[i], fate == 1, &random);
        if (file >= 0) close(file);
        free(all[i]->after);
        all[i]->after = 0;
    }
    free(all);
}

void crash_flushed(struct unflushed **newest, const char *path) {
    while (*newest) {
        struct unflushed *w = *newest;
        if (!path || strcmp(w->path, path) == 0) {
            *newest = w->older;
            free(w);
        } else {
            newest = &w->older;
        }
    }
}
