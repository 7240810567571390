// One replacement of a function, shared by all fixtures that look at it: libprobe runs the first of several
// replacements only, but a spy and a fault may well want the same function, for different threads.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <libprobe/replacement.hpp>
#include <libprobe/testing/place.hpp>
#include <libprobe/testing/report.hpp>
#include <libprobe/testing/thread.hpp>
#include <libprobe/typed.hpp>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <typeinfo>
#include <utility>
#include <vector>

namespace libprobe {

/// The function as the fixtures further in, and at last the program, have it. What a stub's callable gets as
/// `original`. Valid during the call.
template <class F>
class onward;

namespace detail {

/// A fixture's part in each call of a function.
struct interceptor_base {
  explicit interceptor_base(thread_scope whose) : scope{whose} {}
  interceptor_base(const interceptor_base&) = delete;
  interceptor_base& operator=(const interceptor_base&) = delete;
  virtual ~interceptor_base() = default;

  const thread_scope scope;
  std::atomic<unsigned> users{0};  // calls that are inside
};

template <class F>
struct interceptor;
template <class R, class... A>
struct interceptor<R(A...)> : interceptor_base {
  using interceptor_base::interceptor_base;
  virtual R call(onward<R(A...)> original, A... arguments) = 0;
};

}  // namespace detail

template <class R, class... A>
class onward<R(A...)> {
 public:
  using function = R (*)(A...);
  /// The function of a variadic one, which gets what its caller gave behind the fixed arguments from `rest`.
  using variadic = R (*)(const void* rest, function which, A... arguments);

  onward(detail::interceptor_base* const* links, std::size_t count, function which, variadic call = nullptr,
         const void* rest = nullptr) noexcept
      : links_{links}, count_{count}, function_{which}, call_{call}, rest_{rest} {}
  R operator()(A... arguments) const {
    if (count_ != 0) {
      auto& next = static_cast<detail::interceptor<R(A...)>&>(**links_);
      return next.call(onward{links_ + 1, count_ - 1, function_, call_, rest_},
                       std::forward<A>(arguments)...);
    }
    if (call_ != nullptr) return call_(rest_, function_, std::forward<A>(arguments)...);
    return function_(std::forward<A>(arguments)...);
  }

 private:
  detail::interceptor_base* const* links_;
  std::size_t count_;
  function function_;
  variadic call_;
  const void* rest_;
};

namespace detail {

/// The function's fixtures, newest first, and who is inside.
class hub_base : public installed {
 public:
  static constexpr std::size_t most_links = 16;

  hub_base(place where, const std::type_info& type) : where_{std::move(where)}, type_{type} {}

  [[nodiscard]] const place& where() const noexcept { return where_; }
  [[nodiscard]] const std::type_info& type() const noexcept { return type_; }

  /// False: no more room.
  bool link(interceptor_base& added) noexcept {
    const std::lock_guard guard{links_lock_};
    if (count_ == most_links) return false;
    for (std::size_t i = count_++; i > 0; --i) links_[i] = links_[i - 1];
    links_[0] = &added;
    return true;
  }
  void unlink(interceptor_base& removed) noexcept {
    const std::lock_guard guard{links_lock_};
    auto* const end = std::remove(links_.begin(), links_.begin() + count_, &removed);
    count_ = static_cast<std::size_t>(end - links_.begin());
  }

  // Fixtures that are between join and leave; under the workshop's lock.
  std::size_t members = 0;

  bool leave() noexcept override {
    if (inside_.load() != 0) return false;
    unregister_replacement_fast(replacement_);
    if (inside_.load() == 0) return true;
    // Somebody went in just now, perhaps to sleep there. Whoever commits next must not wait for that.
    return register_replacement(replacement_) != std::error_code{};
  }

 protected:
  /// One call, from its beginning to its end.
  class visit {
   public:
    explicit visit(hub_base& hub) noexcept : hub_{hub} {
      hub.inside_.fetch_add(1);
      if (thread_state.unwatched != 0) return;
      const unwatched own_work;
      const std::lock_guard guard{hub.links_lock_};
      for (std::size_t i = 0; i < hub.count_; ++i) {
        if (!hub.links_[i]->scope.holds()) continue;
        hub.links_[i]->users.fetch_add(1, std::memory_order_relaxed);
        links[count++] = hub.links_[i];
      }
    }
    ~visit() {
      for (std::size_t i = 0; i < count; ++i) links[i]->users.fetch_sub(1, std::memory_order_release);
      hub_.inside_.fetch_sub(1);
    }
    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;

    std::array<interceptor_base*, most_links> links{};
    std::size_t count = 0;

   private:
    hub_base& hub_;
  };

  libprobe::replacement replacement_;

 private:
  const place where_;
  const std::type_info& type_;
  spin_lock links_lock_;
  std::array<interceptor_base*, most_links> links_{};
  std::size_t count_ = 0;
  std::atomic<unsigned> inside_{0};
};

template <class F>
class hub final : public hub_base {
 public:
  explicit hub(place where) : hub_base{std::move(where), typeid(F)} {
    replacement_.at = location{static_cast<const void*>(this->where().address)};
    replacement_.entry = entry<F>::address();
    replacement_.context = this;
    replacement_.stack_bytes = signature<F>::stack_bytes;
    replacement_.result = result_registers_of<typename signature<F>::result>();
    check(register_replacement(replacement_));
  }

 private:
  static hub& current() noexcept { return *static_cast<hub*>(current_replacement()->context); }
  template <class>
  struct entry;
  template <class R, class... A>
  struct entry<R(A...)> {
    static void* address() noexcept { return function_address(&run); }
    static R run(A... arguments) {
      auto& self = current();
      auto* const function = reinterpret_cast<R (*)(A...)>(original(self.replacement_));
      const visit here{self};
      return onward<R(A...)>{here.links.data(), here.count, function}(std::forward<A>(arguments)...);
    }
  };
  template <class R, class... A>
  struct entry<R(A..., ...)> {
    using rest_type = variadic_rest<R(A...)>;
    static void* address() noexcept { return function_address(&variadic_entry<R(A...), &serve>::run); }
    static R serve(const rest_type& rest, A... arguments) {
      auto& self = current();
      auto* const function = reinterpret_cast<R (*)(A...)>(original(self.replacement_));
      const visit here{self};
      return onward<R(A...)>{here.links.data(), here.count, function, &call,
                             &rest}(std::forward<A>(arguments)...);
    }
    static R call(const void* rest, R (*function)(A...), A... arguments) {
      return static_cast<const rest_type*>(rest)->call(
          reinterpret_cast<typename rest_type::function>(reinterpret_cast<void*>(function)),
          std::forward<A>(arguments)...);
    }
  };
};

/// The hubs in use, by address.
class switchboard {
 public:
  template <class F>
  static hub_base& join(const location& at, interceptor<typename signature<F>::fixed>& added) {
    const unwatched own_work;
    auto& shop = workshop::instance();
    const std::lock_guard guard{shop.lock()};
    const place where = shop.find(at);
    auto& known = hubs()[where.address];
    if (known == nullptr) known = revive_or_make<F>(where);
    if (known->type() != typeid(F)) throw mismatch(*known, typeid(F));
    if (!known->link(added)) throw std::length_error{"too many fixtures look at " + where.name};
    ++known->members;
    return *known;
  }

  /// The last one takes the hub with it.
  static void leave(hub_base& from) {
    auto& shop = workshop::instance();
    const std::lock_guard guard{shop.lock()};
    if (--from.members != 0) return;
    auto node = hubs().extract(from.where().address);
    shop.bury(std::move(node.mapped()));
  }

 private:
  static std::map<void*, std::unique_ptr<hub_base>>& hubs() {
    static auto* const all = new std::map<void*, std::unique_ptr<hub_base>>;
    return *all;
  }
  template <class F>
  static std::unique_ptr<hub_base> revive_or_make(const place& where) {
    auto& shop = workshop::instance();
    auto old = shop.revive([&](installed& one) {
      const auto* candidate = dynamic_cast<hub_base*>(&one);
      return candidate != nullptr && candidate->where().address == where.address;
    });
    if (old == nullptr) return std::make_unique<hub<F>>(where);
    auto& known = static_cast<hub_base&>(*old);
    if (known.type() == typeid(F)) {
      static_cast<void>(old.release());
      return std::unique_ptr<hub_base>{&known};
    }
    const auto refusal = mismatch(known, typeid(F));
    shop.bury(std::move(old));
    throw refusal;
  }
  static std::invalid_argument mismatch(const hub_base& known, const std::type_info& wanted) {
    return std::invalid_argument{"another fixture looks at " + known.where().name +
                                 " with a different signature: " + demangled(known.type().name()) + ", not " +
                                 demangled(wanted.name())};
  }
};

/// How long a fixture's end waits for calls that are inside of its callable.
inline std::atomic<std::chrono::milliseconds> end_limit{std::chrono::seconds{10}};

/// An interceptor at work, from its making to its end.
template <class Interceptor>
class hooked {
 public:
  template <class F, class... Arguments>
  hooked(std::in_place_type_t<F> /*unused*/, const location& at, Arguments&&... arguments) {
    const unwatched own_work;  // the function may be malloc
    what_ = std::make_unique<Interceptor>(std::forward<Arguments>(arguments)...);
    hub_ = &switchboard::join<F>(at, *what_);
    name_ = hub_->where().name;
  }
  /// Waits until no call is inside of the interceptor; one that does not come out is reported, and what it
  /// needs is kept for it.
  ~hooked() {
    const unwatched own_work;
    hub_base& from = *hub_;
    from.unlink(*what_);
    const auto until = std::chrono::steady_clock::now() + end_limit.load();
    while (what_->users.load(std::memory_order_acquire) != 0) {
      if (std::chrono::steady_clock::now() > until) {
        report_at_end({"a fixture ends, but a call of " + name_ + " does not come out of it", {}});
        static_cast<void>(what_.release());  // the call's, for ever
        return;
      }
      std::this_thread::yield();
    }
    switchboard::leave(from);
  }
  hooked(const hooked&) = delete;
  hooked& operator=(const hooked&) = delete;

  Interceptor* operator->() const noexcept { return what_.get(); }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  std::unique_ptr<Interceptor> what_;
  hub_base* hub_ = nullptr;
  std::string name_;
};

}  // namespace detail
}  // namespace libprobe
