// The only door to SQLite's C API. What Swift cannot import (variadic functions, the destructor
// constants) is given a fixed shape here; fixed-width types only.
#ifndef SLUICE_CSQLITE_SHIM_H
#define SLUICE_CSQLITE_SHIM_H

#include <sqlite3.h>

/// Once, before anything else: no statistics of memory, whose mutex every allocation would take.
static inline int csqlite_configure(void) { return sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); }

/// Defensive mode: SQL text cannot write to the file's own structures.
static inline int csqlite_set_defensive(sqlite3 *db) {
    int on = 0;
    int rc = sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, &on);
    return rc != SQLITE_OK ? rc : on ? SQLITE_OK : SQLITE_ERROR;
}

/// A fast stop: the log is left for the next start instead of being copied on close.
static inline int csqlite_set_no_checkpoint_on_close(sqlite3 *db, int enabled) {
    int on = 0;
    return sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, enabled, &on);
}

/// SQLite copies the bytes before it returns; `bytes` may be a null pointer when `count` is 0.
static inline int csqlite_bind_blob(
    sqlite3_stmt *s, int index, const void *bytes, sqlite3_uint64 count) {
    if (count == 0) return sqlite3_bind_zeroblob(s, index, 0);
    return sqlite3_bind_blob64(s, index, bytes, count, SQLITE_TRANSIENT);
}

/// UTF-8, copied before it returns; an empty text stays a text.
static inline int csqlite_bind_text(
    sqlite3_stmt *s, int index, const void *bytes, sqlite3_uint64 count) {
    const char *text = count == 0 ? "" : (const char *)bytes;
    return sqlite3_bind_text64(s, index, text, count, SQLITE_TRANSIENT, SQLITE_UTF8);
}

#endif
