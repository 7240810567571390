// Looking names up under a lock, and calling the loader.
#pragma once

namespace libprobe::symbols {

/// Holds a lock while names are looked up, but for calls into the loader. Those may wait for a thread that is
/// loading a library just now, and that one may wait for the lock: its constructors register probes, too.
class lookup {
 public:
  template <class Lock>
  explicit lookup(Lock& lock)
      : lock_{&lock},
        take_{[](void* it) { static_cast<Lock*>(it)->lock(); }},
        give_{[](void* it) { static_cast<Lock*>(it)->unlock(); }},
        outer_{current} {
    take_(lock_);
    current = this;
  }
  ~lookup() {
    current = outer_;
    give_(lock_);
  }
  lookup(const lookup&) = delete;
  lookup& operator=(const lookup&) = delete;

 private:
  friend class loader_call;
  void* lock_;
  void (*take_)(void*);
  void (*give_)(void*);
  lookup* outer_;
  static inline thread_local constinit lookup* current = nullptr;
};

/// Around dlopen(), dlsym() and their like: the calling thread's lookup gives its lock back for so long.
class loader_call {
 public:
  loader_call() : of_{lookup::current} {
    if (of_ != nullptr) of_->give_(of_->lock_);
  }
  ~loader_call() {
    if (of_ != nullptr) of_->take_(of_->lock_);
  }
  loader_call(const loader_call&) = delete;
  loader_call& operator=(const loader_call&) = delete;

 private:
  lookup* of_;
};

}  // namespace libprobe::symbols
