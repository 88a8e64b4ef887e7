// What a power cut leaves of a folder: everything that was flushed, and of what was written since then
// any part.
#ifndef SLUICE_CRASH_H
#define SLUICE_CRASH_H

/// A write or truncation that was not flushed, with what was there before.
struct unflushed {
    struct unflushed *older;
    char path[256];
    /// Where it began; the file's size before it.
    long long offset, size;
    /// Bytes written, bytes that had been there from `offset` on.
    long long count, had;
    int isTruncation;
    /// What was written, while a copy is made.
    unsigned char *after;
    unsigned char bytes[];
};

/// Copies the files of `folder` to the new folder `to`.
void crash_copy(const char *folder, const char *to, struct unflushed *newest, unsigned long long seed);
/// Forgets what was written to the file, or to all (null).
void crash_flushed(struct unflushed **newest, const char *path);

#endif
