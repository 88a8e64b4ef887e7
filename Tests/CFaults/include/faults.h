// A disk that fails when it is told to: a VFS over SQLite's own. Rules name a folder, an operation and which
// of its calls fail and how; files outside the folders of rules are left alone, so tests may run side by
// side. Becomes the default VFS of the process with faults_install.
#ifndef SLUICE_FAULTS_H
#define SLUICE_FAULTS_H

enum faults_operation {
    faults_open = 0,
    faults_read = 1,
    faults_write = 2,
    faults_sync = 3,
    faults_truncate = 4,
    faults_operations = 5
};

/// Idempotent; 0 when it worked.
int faults_install(void);

/// A rule for files below `folder`; answers its number, or -1 when there are too many.
int faults_begin(const char *folder);
void faults_end(int rule);

/// Calls number `skip` + 1 … `skip` + `count` of the operation from now on answer `code`. `isDone` 1: the
/// call is carried out all the same, 0: it is not, 2: a write is carried out by half. `only`: for files
/// whose names end so, or null.
void faults_fail(
    int rule, int operation, int code, int skip, int count, int isDone, const char *only);
/// From now on files grow by `room` bytes at most, then the device is full; what a truncation frees may
/// be used again.
void faults_bound(int rule, long long room);
/// What is written and not flushed is remembered from now on, so that the power may go.
void faults_track(int rule);
/// The power goes at write, flush or truncation number `calls` + 1 within `folder`: `to` becomes a copy of the
/// folder as it would be found then. What was not flushed is there, is not, or is there in part, as
/// `seed` decides. The program goes on, in a world that is no more.
void faults_crash(int rule, int calls, const char *folder, const char *to, unsigned long long seed);
/// 1: the power went. 0: there were fewer calls, so it goes now.
int faults_crashed(int rule);
/// Nothing fails any more.
void faults_stop(int rule);
/// Calls of an operation since faults_begin.
int faults_calls(int rule, int operation);
/// Calls that were made to fail.
int faults_failed(int rule);

#endif
