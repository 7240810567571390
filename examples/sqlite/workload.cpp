#include "workload.hpp"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <random>
#include <span>
#include <stdexcept>
#include <string>

namespace workload {

namespace {

/// FNV-1a.
class digest {
 public:
  void bytes(const void* data, std::size_t size) noexcept {
    const auto* at = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i < size; ++i) value_ = (value_ ^ at[i]) * 0x100000001b3;
  }
  template <class T>
  void number(T value) noexcept {
    bytes(&value, sizeof value);
  }
  [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325;
};

class connection {
 public:
  explicit connection(std::atomic<std::uint64_t>& progress) : progress_{progress} {
    // No other thread uses this connection.
    constexpr int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(":memory:", &handle_, flags, nullptr) != SQLITE_OK) {
      throw std::runtime_error{"cannot open a database"};
    }
  }
  ~connection() { sqlite3_close(handle_); }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  [[nodiscard]] outcome result() {
    outcome_.digest = digest_.value();
    return outcome_;
  }

 private:
  friend class statement;

  void count(call which) noexcept { ++outcome_.calls[static_cast<std::size_t>(which)]; }

  sqlite3* handle_ = nullptr;
  outcome outcome_;
  digest digest_;
  std::atomic<std::uint64_t>& progress_;
};

class statement {
 public:
  statement(connection& in, const char* sql) : in_{in} {
    in_.count(call::prepare);
    check(sqlite3_prepare_v2(in_.handle_, sql, -1, &handle_, nullptr));
  }
  ~statement() {
    in_.count(call::finalize);
    sqlite3_finalize(handle_);
  }
  statement(const statement&) = delete;
  statement& operator=(const statement&) = delete;

  statement& bind(int at, std::uint64_t value) {
    in_.count(call::bind_int64);
    check(sqlite3_bind_int64(handle_, at, static_cast<sqlite3_int64>(value)));
    return *this;
  }
  statement& bind(int at, double value) {
    in_.count(call::bind_double);
    check(sqlite3_bind_double(handle_, at, value));
    return *this;
  }
  statement& bind(int at, const std::string& value) {
    in_.count(call::bind_text);
    check(sqlite3_bind_text(handle_, at, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT));
    return *this;
  }

  /// Runs it to its end, every returned value into the digest, and makes it ready to run again.
  void run() {
    while (step()) take_row();
    in_.count(call::reset);
    check(sqlite3_reset(handle_));
  }

 private:
  bool step() {
    in_.count(call::step);
    in_.progress_.fetch_add(1, std::memory_order_relaxed);
    const int answer = sqlite3_step(handle_);
    if (answer != SQLITE_ROW && answer != SQLITE_DONE) check(answer);
    return answer == SQLITE_ROW;
  }

  void take_row() {
    ++in_.outcome_.rows_returned;
    in_.count(call::column_count);
    const int columns = sqlite3_column_count(handle_);
    for (int i = 0; i < columns; ++i) take_value(i);
  }

  void take_value(int column) {
    auto& to = in_.digest_;
    in_.count(call::column_type);
    const int type = sqlite3_column_type(handle_, column);
    to.number(type);
    if (type == SQLITE_INTEGER) {
      in_.count(call::column_int64);
      to.number(sqlite3_column_int64(handle_, column));
    } else if (type == SQLITE_FLOAT) {
      in_.count(call::column_double);
      to.number(std::bit_cast<std::uint64_t>(sqlite3_column_double(handle_, column)));
    } else if (type != SQLITE_NULL) {
      in_.count(call::column_text);
      in_.count(call::column_bytes);
      const auto* text = sqlite3_column_text(handle_, column);
      to.bytes(text, static_cast<std::size_t>(sqlite3_column_bytes(handle_, column)));
    }
  }

  void check(int answer) const {
    if (answer == SQLITE_OK) return;
    throw std::runtime_error{fmt::format("SQLite: {}", sqlite3_errmsg(in_.handle_))};
  }

  connection& in_;
  sqlite3_stmt* handle_ = nullptr;
};

constexpr const char* schema[] = {
    "create table customer (id integer primary key, name text not null, city text, credit real)",
    "create table orders (id integer primary key, customer integer references customer, day integer, "
    "amount real check (amount >= 0), note text)",
    "create table audit (id integer primary key autoincrement, orders integer, was real, becomes real)",
    "create table total (city text primary key, orders integer, amount real) without rowid",
    "create view big as select * from orders where amount > 900",
    "create view sample as select * from orders where id % 20 = 0",
    "create trigger changed after update of amount on orders when new.id % 50 = 0 begin "
    "insert into audit (orders, was, becomes) values (new.id, old.amount, new.amount); end",
};

constexpr const char* indexes[] = {
    "create index orders_customer on orders (customer)",
    "create index orders_day on orders (day, amount)",
    "create index orders_note on orders (note) where note is not null",
    "pragma analysis_limit = 400",
    "analyze",
};

constexpr const char* questions[] = {
    // aggregates
    "select count(*) from orders where amount > 500",
    "select min(amount), max(amount) from sample",
    "select day / 30, count(*), sum(amount), avg(amount) from sample group by 1 having count(*) > 3 order by "
    "1",
    "select count(distinct customer), count(distinct note), count(note), total(length(note)) from sample",
    "select group_concat(name, ';') from (select name from customer where city = 'Ulm' order by id)",
    // joins
    "select c.city, count(*), sum(o.amount) from sample o join customer c on c.id = o.customer "
    "group by c.city order by 2 desc, 1",
    "select c.id, c.name from customer c left join orders o on o.customer = c.id and o.amount > 990 "
    "where o.id is null order by c.id limit 1000",
    "select a.id, b.id from sample a join orders b on b.customer = a.customer and b.day = a.day and b.id > "
    "a.id "
    "order by 1, 2 limit 1000",
    // like, glob, functions of text and numbers
    "select id, upper(note) from orders where id % 5 = 1 and note like '%river%stone%' order by id limit 500",
    "select id, substr(note, 3, 5), instr(note, 'a'), replace(note, 'e', 'E') from orders "
    "where id % 5 = 2 and note glob '*[b-f]ell*' order by id limit 500",
    "select printf('%05d|%.3f|%s', id, amount, hex(note)) from orders where id % 97 = 0 order by id",
    "select round(amount, 1), abs(day - 180), typeof(note), quote(note) from orders where id % 89 = 0",
    // windows
    "select id, sum(amount) over w, rank() over w, lag(amount, 2, 0.0) over w from orders where customer % "
    "50 = 0 "
    "window w as (partition by customer order by day, id) order by id",
    "select id, avg(amount) over (order by day, id rows between 5 preceding and 5 following), ntile(10) over "
    "(order by amount, id) from orders where id % 100 = 0 order by id",
    // common table expressions
    "with recursive calendar (day) as (select 0 union all select day + 1 from calendar where day < 364) "
    "select c.day, count(o.id), total(o.amount) from calendar c left join orders o on o.day = c.day "
    "and o.amount > 800 group by c.day order by c.day",
    "with best as (select customer, max(amount) as top from sample group by customer) "
    "select c.city, avg(b.top) from best b join customer c on c.id = b.customer group by c.city order by 1",
    // subqueries and sets
    "select count(*) from customer c where exists (select 1 from orders o where o.customer = c.id and o.day "
    "= 17)",
    "select id from orders where customer in (select id from customer where credit > 950) order by id limit "
    "2000",
    "select customer from orders where day < 20 except select customer from big order by 1",
    "select day from orders where amount < 5 union select day from big intersect select 200 order by 1",
    "select case when amount < 100 then 'low' when amount < 800 then 'middle' else 'high' end as class, "
    "count(*) "
    "from sample group by class order by class",
    "select json_group_array(json_object('id', id, 'city', city)) from (select * from customer where id % 31 "
    "= 0)",
    // the plan is part of what must stay equal
    "explain query plan select * from orders where customer = 5 and day > 10 order by amount",
};

constexpr const char* changes[] = {
    "begin",
    "update orders set amount = round(amount * 1.07, 2) where customer % 7 = 0",
    "insert into total select c.city, count(*), sum(o.amount) from sample o join customer c on c.id = "
    "o.customer "
    "group by c.city",
    "insert into total values ('Ulm', 1, 1.0) on conflict (city) do update set orders = orders + 1 returning "
    "*",
    "savepoint here",
    "delete from orders where day % 2 = 0",
    "select count(*) from orders",
    "rollback to here",
    "release here",
    "delete from orders where note is null and day > 300",
    "commit",
    "select * from total order by city",
    "select count(*), sum(was), sum(becomes) from audit",
    "reindex orders_day",
    "pragma integrity_check",
};

/// Words and numbers from a seed, the same on every machine.
class source {
 public:
  explicit source(std::uint64_t seed) : bits_{seed} {}

  std::uint64_t below(std::uint64_t limit) { return bits_() % limit; }
  double money() { return static_cast<double>(below(100'000)) / 100; }
  std::string words(std::uint64_t count) {
    constexpr const char* known[] = {"river",   "stone",  "bell",   "garden", "letter", "window",
                                     "harbour", "winter", "copper", "lamp",   "field",  "cello",
                                     "tower",   "bread",  "island", "delta"};
    std::string text;
    for (std::uint64_t i = 0; i < count; ++i) {
      if (i != 0) text += ' ';
      text += known[below(std::size(known))];
    }
    return text;
  }
  std::string city() {
    constexpr const char* known[] = {"Ulm", "Porto", "Turku", "Graz", "Lyon", "Cork", "Brno", "Bergen"};
    return known[below(std::size(known))];
  }

 private:
  std::mt19937_64 bits_;
};

void run_all(connection& in, std::span<const char* const> list) {
  for (const char* sql : list) statement{in, sql}.run();
}

void insert_customers(connection& in, std::uint64_t count, source& random) {
  statement{in, "begin"}.run();
  statement insert{in, "insert into customer values (?1, ?2, ?3, ?4)"};
  for (std::uint64_t id = 1; id <= count; ++id) {
    insert.bind(1, id).bind(2, random.words(2)).bind(3, random.city()).bind(4, random.money()).run();
  }
  statement{in, "commit"}.run();
}

void insert_orders(connection& in, std::uint64_t first, std::uint64_t last, std::uint64_t customers,
                   source& random) {
  constexpr std::uint64_t rows_a_transaction = 1000;
  statement begin{in, "begin"};
  statement commit{in, "commit"};
  statement with_note{in, "insert into orders values (?1, ?2, ?3, ?4, ?5)"};
  statement without_note{in, "insert into orders (id, customer, day, amount) values (?1, ?2, ?3, ?4)"};
  begin.run();
  for (std::uint64_t id = first; id <= last; ++id) {
    const bool noted = id % 9 != 0;
    statement& insert = noted ? with_note : without_note;
    insert.bind(1, id)
        .bind(2, 1 + random.below(customers))
        .bind(3, random.below(365))
        .bind(4, random.money());
    if (noted) insert.bind(5, random.words(1 + random.below(5)));
    insert.run();
    if (id % rows_a_transaction == 0) {
      commit.run();
      begin.run();
    }
  }
  commit.run();
}

void touch_single_rows(connection& in, std::uint64_t rows, source& random) {
  statement look{in, "select o.*, c.name from orders o join customer c on c.id = o.customer where o.id = ?1"};
  for (std::uint64_t i = 0; i < rows / 10; ++i) look.bind(1, 1 + random.below(rows)).run();

  statement{in, "begin"}.run();
  statement change{in, "update orders set amount = ?2, note = ?3 where id = ?1"};
  for (std::uint64_t i = 0; i < rows / 20; ++i) {
    change.bind(1, 1 + random.below(rows)).bind(2, random.money()).bind(3, random.words(3)).run();
  }
  statement remove{in, "delete from orders where id = ?1"};
  for (std::uint64_t i = 0; i < rows / 50; ++i) remove.bind(1, 1 + random.below(rows)).run();
  statement{in, "commit"}.run();
}

}  // namespace

void prepare() {
  // As SQLite's manual advises where speed counts: without statistics, allocations share no lock.
  sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

outcome run(std::uint64_t rows, std::uint64_t seed, std::atomic<std::uint64_t>& progress) {
  source random{seed};
  connection database{progress};
  const auto customers = std::max<std::uint64_t>(rows / 50, 10);
  run_all(database, schema);
  insert_customers(database, customers, random);
  insert_orders(database, 1, rows / 2, customers, random);
  run_all(database, indexes);
  insert_orders(database, rows / 2 + 1, rows, customers, random);
  run_all(database, questions);
  touch_single_rows(database, rows, random);
  run_all(database, changes);
  statement{database, "select * from orders where id % 4 = 0 order by day, id"}.run();
  return database.result();
}

}  // namespace workload
