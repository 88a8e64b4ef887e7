#include "faults.h"

#include "crash.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
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
    /// Bytes by which files may still grow; < 0: no bound.
    long long room;
    int isTracking;
    /// What is written and not flushed, the newest first.
    struct unflushed *unflushed;
    /// The power goes at the call that makes this 0; < 0: it does not.
    int callsLeft;
    char crashFolder[256], crashTo[256];
    unsigned long long crashSeed;
};

struct file {
    sqlite3_file base;
    int rule;
    char name[32];
    char path[256];
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

/// Rules with a bound, tracking or a crash belong to one thread: what is below needs no lock.
static struct rule *own(struct file *file) {
    if (file->rule < 0) return 0;
    struct rule *rule = &rules[file->rule];
    return rule->isTracking || rule->room >= 0 ? rule : 0;
}

/// Notes what a write or a truncation to `offset` is about to change.
static void note(struct file *file, sqlite3_int64 offset, int count, int isTruncation) {
    struct rule *rule = own(file);
    if (!rule || !rule->isTracking) return;
    sqlite3_int64 size = 0;
    file->real->pMethods->xFileSize(file->real, &size);
    long long had = size - offset;
    if (!isTruncation && had > count) had = count;
    if (had < 0) had = 0;
    struct unflushed *made = malloc(sizeof *made + (size_t)had);
    made->older = rule->unflushed;
    strcpy(made->path, file->path);
    made->offset = offset;
    made->size = size;
    made->count = isTruncation ? 0 : count;
    made->had = had;
    made->isTruncation = isTruncation;
    made->after = 0;
    if (had > 0) file->real->pMethods->xRead(file->real, made->bytes, (int)had, offset);
    rule->unflushed = made;
}

/// Counts towards the crash: the folder is copied as the power would leave it now.
static void count(struct file *file) {
    struct rule *rule = own(file);
    if (!rule || rule->callsLeft < 0) return;
    if (strncmp(file->path, rule->crashFolder, strlen(rule->crashFolder)) != 0) return;
    if (rule->callsLeft-- > 0) return;
    crash_copy(rule->crashFolder, rule->crashTo, rule->unflushed, rule->crashSeed);
}

/// False when the device has no room for a write.
static int hasRoom(struct file *file, int count, sqlite3_int64 offset) {
    struct rule *rule = own(file);
    if (!rule || rule->room < 0) return 1;
    sqlite3_int64 size = 0;
    file->real->pMethods->xFileSize(file->real, &size);
    long long growth = offset + count - size;
    if (growth <= 0) return 1;
    if (growth > rule->room) {
        rule->failed++;
        return 0;
    }
    rule->room -= growth;
    return 1;
}

static int xWrite(sqlite3_file *f, const void *bytes, int amount, sqlite3_int64 offset) {
    FILE_OF(f);
    int isDone, code = judge(file->rule, faults_write, file->name, &isDone);
    if (!code && !hasRoom(file, amount, offset)) return SQLITE_FULL;
    int done = !code || isDone == 1 ? amount : isDone == 2 ? amount / 2 : 0;
    if (done > 0) {
        note(file, offset, done, 0);
        int real = PASS(f, xWrite, bytes, done, offset);
        if (!code) code = real;
    }
    count(file);
    return code;
}

static int xTruncate(sqlite3_file *f, sqlite3_int64 size) {
    FILE_OF(f);
    int isDone, code = judge(file->rule, faults_truncate, file->name, &isDone);
    count(file);
    if (code) return code;
    struct rule *rule = own(file);
    sqlite3_int64 before = 0;
    if (rule) PASS(f, xFileSize, &before);
    note(file, size, 0, 1);
    code = PASS(f, xTruncate, size);
    if (rule && rule->room >= 0 && before > size) rule->room += before - size;
    return code;
}

static int xSync(sqlite3_file *f, int flags) {
    FILE_OF(f);
    int isDone, code = judge(file->rule, faults_sync, file->name, &isDone);
    count(file);
    if (code && !isDone) return code;
    int real = PASS(f, xSync, flags);
    if (!real && file->rule >= 0)
        crash_flushed(&rules[file->rule].unflushed, file->path);
    return code ? code : real;
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
    file->path[0] = 0;
    if (path) {
        size_t length = strlen(path), from = length > 31 ? length - 31 : 0;
        if (length < sizeof file->path) strcpy(file->path, path);
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
        rules[i].room = -1;
        rules[i].callsLeft = -1;
        rules[i].isUsed = 1;
        found = i;
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

void faults_end(int rule) {
    pthread_mutex_lock(&mutex);
    rules[rule].isUsed = 0;
    crash_flushed(&rules[rule].unflushed, 0);
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
    rules[rule].room = -1;
    pthread_mutex_unlock(&mutex);
}

void faults_bound(int rule, long long room) { rules[rule].room = room; }

void faults_track(int rule) { rules[rule].isTracking = 1; }

void faults_crash(int rule, int calls, const char *folder, const char *to, unsigned long long seed) {
    struct rule *own = &rules[rule];
    if (strlen(folder) >= sizeof own->crashFolder || strlen(to) >= sizeof own->crashTo) return;
    strcpy(own->crashFolder, folder);
    strcpy(own->crashTo, to);
    own->crashSeed = seed;
    own->callsLeft = calls;
}

int faults_crashed(int rule) {
    struct rule *own = &rules[rule];
    int isOver = own->callsLeft < 0;
    if (!isOver) crash_copy(own->crashFolder, own->crashTo, own->unflushed, own->crashSeed);
    own->callsLeft = -1;
    return isOver;
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
