#include "faults.h"

#include <pthread.h>
#include <sqlite3.h>
#include <string.h>

#define RULES 64

struct fault {
    int code, skip, count, isDone;
    char only[32];
};

struct rule {
    int isUsed;
    char folder[256];
    struct fault faults[faults_operations];
    int calls[faults_operations];
    int failed;
};

struct file {
    sqlite3_file base;
    int rule;
    char name[32];
    sqlite3_file *real;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct rule rules[RULES];
static sqlite3_vfs *real;
static sqlite3_vfs vfs;
static int isInstalled;

static int find(const char *path) {
    int found = -1;
    if (!path) return -1;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < RULES; i++)
        if (rules[i].isUsed && strncmp(path, rules[i].folder, strlen(rules[i].folder)) == 0)
            found = i;
    pthread_mutex_unlock(&mutex);
    return found;
}

static int endsWith(const char *text, const char *end) {
    size_t a = strlen(text), b = strlen(end);
    return a >= b && strcmp(text + a - b, end) == 0;
}

/// The code that a call answers, SQLITE_OK when it is not to fail.
static int judge(int number, int operation, const char *name, int *isDone) {
    int code = SQLITE_OK;
    *isDone = 1;
    if (number < 0) return code;
    pthread_mutex_lock(&mutex);
    struct rule *rule = &rules[number];
    struct fault *fault = &rule->faults[operation];
    rule->calls[operation]++;
    if (fault->count > 0 && (!fault->only[0] || endsWith(name, fault->only))) {
        if (fault->skip > 0) {
            fault->skip--;
        } else {
            fault->count--;
            code = fault->code;
            *isDone = fault->isDone;
            rule->failed++;
        }
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

#define FILE_OF(f) struct file *file = (struct file *)(f)
#define REAL(f) (((struct file *)(f))->real)
#define PASS(f, method, ...) REAL(f)->pMethods->method(REAL(f), ##__VA_ARGS__)

static int xClose(sqlite3_file *f) { return PASS(f, xClose); }

static int xRead(sqlite3_file *f, void *bytes, int count, sqlite3_int64 offset) {
    FILE_OF(f);
    int isDone, code = judge(file->rule, faults_read, file->name, &isDone);
    return code ? code : PASS(f, xRead, bytes, count, offset);
}

static int xWrite(sqlite3_file *f, const void *bytes, int count, sqlite3_int64 offset) {
    FILE_OF(f);
    int isDone, code = judge(file->rule, faults_write, file->name, &isDone);
    if (!code) return PASS(f, xWrite, bytes, count, offset);
    if (isDone) (void)PASS(f, xWrite, bytes, isDone == 2 ? count / 2 : count, offset);
    return code;
}

static int xTruncate(sqlite3_file *f, sqlite3_int64 size) {
    FILE_OF(f);
    int isDone, code = judge(file->rule, faults_truncate, file->name, &isDone);
    return code ? code : PASS(f, xTruncate, size);
}

static int xSync(sqlite3_file *f, int flags) {
    FILE_OF(f);
    int isDone, code = judge(file->rule, faults_sync, file->name, &isDone);
    if (!code || isDone) {
        int real = PASS(f, xSync, flags);
        return code ? code : real;
    }
    return code;
}

static int xFileSize(sqlite3_file *f, sqlite3_int64 *size) { return PASS(f, xFileSize, size); }
static int xLock(sqlite3_file *f, int level) { return PASS(f, xLock, level); }
static int xUnlock(sqlite3_file *f, int level) { return PASS(f, xUnlock, level); }
static int xCheckReservedLock(sqlite3_file *f, int *out) { return PASS(f, xCheckReservedLock, out); }
static int xFileControl(sqlite3_file *f, int op, void *arg) { return PASS(f, xFileControl, op, arg); }
static int xSectorSize(sqlite3_file *f) { return PASS(f, xSectorSize); }
static int xDeviceCharacteristics(sqlite3_file *f) { return PASS(f, xDeviceCharacteristics); }
static int xShmMap(sqlite3_file *f, int page, int size, int extend, void volatile **out) {
    return PASS(f, xShmMap, page, size, extend, out);
}
static int xShmLock(sqlite3_file *f, int offset, int count, int flags) {
    return PASS(f, xShmLock, offset, count, flags);
}
static void xShmBarrier(sqlite3_file *f) { PASS(f, xShmBarrier); }
static int xShmUnmap(sqlite3_file *f, int remove) { return PASS(f, xShmUnmap, remove); }
static int xFetch(sqlite3_file *f, sqlite3_int64 offset, int count, void **out) {
    return PASS(f, xFetch, offset, count, out);
}
static int xUnfetch(sqlite3_file *f, sqlite3_int64 offset, void *page) {
    return PASS(f, xUnfetch, offset, page);
}

static const sqlite3_io_methods methods = {
    3, xClose, xRead, xWrite, xTruncate, xSync, xFileSize, xLock, xUnlock, xCheckReservedLock,
    xFileControl, xSectorSize, xDeviceCharacteristics, xShmMap, xShmLock, xShmBarrier, xShmUnmap,
    xFetch, xUnfetch,
};

static int xOpen(sqlite3_vfs *own, const char *path, sqlite3_file *f, int flags, int *out) {
    (void)own;
    FILE_OF(f);
    file->base.pMethods = 0;
    file->rule = find(path);
    file->name[0] = 0;
    if (path) {
        size_t length = strlen(path), from = length > 31 ? length - 31 : 0;
        memcpy(file->name, path + from, length - from + 1);
    }
    file->real = (sqlite3_file *)(file + 1);
    int isDone, code = judge(file->rule, faults_open, file->name, &isDone);
    if (code) return code;
    code = real->xOpen(real, path, file->real, flags, out);
    // Unix files have all methods of version 3; one that had not would be left alone.
    if (file->real->pMethods) file->base.pMethods = &methods;
    return code;
}

int faults_install(void) {
    pthread_mutex_lock(&mutex);
    int code = 0;
    if (!isInstalled) {
        real = sqlite3_vfs_find(0);
        vfs = *real;
        vfs.zName = "faults";
        vfs.pNext = 0;
        vfs.szOsFile = (int)sizeof(struct file) + real->szOsFile;
        vfs.xOpen = xOpen;
        code = sqlite3_vfs_register(&vfs, 1);
        isInstalled = code == SQLITE_OK;
    }
    pthread_mutex_unlock(&mutex);
    return code;
}

int faults_begin(const char *folder) {
    int found = -1;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < RULES && found < 0; i++) {
        if (rules[i].isUsed || strlen(folder) >= sizeof rules[i].folder) continue;
        memset(&rules[i], 0, sizeof rules[i]);
        strcpy(rules[i].folder, folder);
        rules[i].isUsed = 1;
        found = i;
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

void faults_end(int rule) {
    pthread_mutex_lock(&mutex);
    rules[rule].isUsed = 0;
    memset(rules[rule].faults, 0, sizeof rules[rule].faults);
    pthread_mutex_unlock(&mutex);
}

void faults_fail(
    int rule, int operation, int code, int skip, int count, int isDone, const char *only) {
    pthread_mutex_lock(&mutex);
    struct fault *fault = &rules[rule].faults[operation];
    fault->code = code;
    fault->skip = skip;
    fault->count = count;
    fault->isDone = isDone;
    fault->only[0] = 0;
    if (only && strlen(only) < sizeof fault->only) strcpy(fault->only, only);
    pthread_mutex_unlock(&mutex);
}

void faults_stop(int rule) {
    pthread_mutex_lock(&mutex);
    memset(rules[rule].faults, 0, sizeof rules[rule].faults);
    pthread_mutex_unlock(&mutex);
}

int faults_calls(int rule, int operation) {
    pthread_mutex_lock(&mutex);
    int calls = rules[rule].calls[operation];
    pthread_mutex_unlock(&mutex);
    return calls;
}

int faults_failed(int rule) {
    pthread_mutex_lock(&mutex);
    int failed = rules[rule].failed;
    pthread_mutex_unlock(&mutex);
    return failed;
}
