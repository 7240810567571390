// A spy on a library's function: what does SQLite ask the operating system for?
#include <sqlite3.h>

#include <cstdio>
#include <iostream>
#include <libprobe/testing.hpp>

int main() {
  const libprobe::spy<ssize_t(int, const void*, std::size_t, off_t)> writes{"libc.so.6:pwrite64"};
  const libprobe::spy<int(const char*)> removals{"libc.so.6:unlink"};

  sqlite3* db = nullptr;
  const char* const name = "spy_example.db";
  sqlite3_open(name, &db);
  sqlite3_exec(db, "create table if not exists t(x); insert into t values(1)", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  std::remove(name);

  for (const auto& call : writes.calls()) std::cout << writes.name() << ' ' << call << '\n';
  for (const auto& call : removals.calls()) std::cout << removals.name() << ' ' << call << '\n';

  // The journal went, and at least a page of the database was written. A failed expectation is thrown.
  const auto is_journal = [](const libprobe::text& path) { return path.ends_with("spy_example.db-journal"); };
  libprobe::expect(removals.was_called_with(is_journal));
  libprobe::expect(writes.was_called_with(libprobe::anything, libprobe::anything, 4096, 0));
}
