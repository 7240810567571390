// Process-wide barriers: one thread pays so that the others need none.
#pragma once

namespace libprobe::os {

/// Registers this process for the barriers below. Idempotent; call again in a forked child.
void prepare_barriers() noexcept;

/// True if heavy_barrier() makes every running thread execute a full memory barrier, as membarrier(2) did
/// when it was prepared. Where the kernel refuses that, readers must use a full barrier of their own. Once
/// true it stays so: a sandbox that refuses membarrier later makes heavy_barrier() dearer, not weaker.
bool barriers_are_asymmetric() noexcept;

/// Every thread of the process has executed a full memory barrier between call and return. Not signal-safe.
void heavy_barrier() noexcept;

/// Every thread of the process has discarded instructions fetched before the call when it next runs: the
/// kernel's text_poke_sync(). To be called after text was written.
void synchronize_cores() noexcept;

}  // namespace libprobe::os
