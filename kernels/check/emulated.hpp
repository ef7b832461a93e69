// A grid of threads on one thread of a CPU: whole kernels run as written, with their blocks, shared memory, barriers
// and waiting between blocks. Nothing here is fast; it exists to prove index arithmetic, geometry and results without a
// GPU.
//
// Every CUDA thread that has to wait becomes a fiber. A fiber that ends takes the next thread, so that kernels which
// never wait need a single one. Where a kernel is launched cooperatively all its blocks are alive at once, as on a
// device.
#pragma once
#include <ucontext.h>

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

#include "listed.hpp"

namespace tgvc_check {

struct Index {
    unsigned x = 0, y = 0, z = 0;
};

struct EmulatedBlock {
    Index index;
    unsigned alive = 0, waiting = 0;
    std::map<const void*, std::vector<unsigned char>> shared;
};

class Emulator {
  public:
    Index thread, block, block_size, grid_size;

    static Emulator& get() {
        static Emulator emulator;
        return emulator;
    }

    void launch(const Listed& kernel, unsigned grid, unsigned threads, bool cooperative, void** arguments) {
        if (threads == 0 || threads > 1024 || grid == 0) throw std::runtime_error("a grid that no device takes");
        kernel_ = &kernel, arguments_ = arguments;
        grid_size = Index{grid, 1, 1}, block_size = Index{threads, 1, 1};
        const unsigned together = cooperative ? grid : 1;
        for (unsigned start = 0; start < grid; start += together) {
            std::vector<std::unique_ptr<EmulatedBlock>> blocks;
            for (unsigned n = start; n < start + together; ++n) {
                blocks.emplace_back(new EmulatedBlock);
                blocks.back()->index = Index{n, 0, 0};
                blocks.back()->alive = threads;
                for (unsigned t = 0; t < threads; ++t) pending_.push_back({blocks.back().get(), t});
            }
            run(blocks);
        }
    }

    // The memory that all threads of the running block know by one key.
    template <class Type> Type* shared(const void* key, unsigned count) {
        std::vector<unsigned char>& room = running_->home->shared[key];
        // never zero to begin with, as on a device
        if (room.empty()) room.assign(count * sizeof(Type) + 16, 0xA5);
        const auto address = reinterpret_cast<std::uintptr_t>(room.data());
        return reinterpret_cast<Type*>((address + 15) / 16 * 16);
    }

    void synchronize() { leave(Wait::barrier), enter(); }
    void spin() { leave(Wait::turn), enter(); }

  private:
    enum class Wait { none, barrier, turn };
    struct Work {
        EmulatedBlock* block;
        unsigned thread;
    };
    struct Fiber {
        ucontext_t context;
        std::unique_ptr<unsigned char[]> stack;
        EmulatedBlock* home = nullptr;
        unsigned thread = 0;
        Wait wait = Wait::none;
        bool idle = true;
    };
    static constexpr std::size_t STACK = 48 * 1024;

    void run(const std::vector<std::unique_ptr<EmulatedBlock>>& blocks) {
        unsigned left = 0;
        for (const auto& block : blocks) left += block->alive;
        while (left) {
            while (!pending_.empty()) resume(idle_fiber());
            bool moved = false;
            for (const auto& block : blocks) {
                if (block->alive == 0 || block->waiting < block->alive) continue;
                block->waiting = 0;
                moved = true;
                for (const auto& fiber : fibers_) {
                    if (fiber->home == block.get() && fiber->wait == Wait::barrier) fiber->wait = Wait::turn;
                }
            }
            for (std::size_t n = 0; n < fibers_.size(); ++n) {
                if (fibers_[n]->idle || fibers_[n]->wait != Wait::turn) continue;
                moved = true;
                resume(fibers_[n].get());
            }
            left = 0;
            for (const auto& block : blocks) left += block->alive;
            if (left && !moved && pending_.empty()) throw std::runtime_error("threads wait for each other for ever");
        }
    }

    Fiber* idle_fiber() {
        for (const auto& fiber : fibers_) {
            if (fiber->idle) return fiber.get();
        }
        fibers_.emplace_back(new Fiber);
        Fiber* fiber = fibers_.back().get();
        fiber->stack.reset(new unsigned char[STACK]);
        getcontext(&fiber->context);
        fiber->context.uc_stack.ss_sp = fiber->stack.get();
        fiber->context.uc_stack.ss_size = STACK;
        fiber->context.uc_link = nullptr;
        makecontext(&fiber->context, &Emulator::work, 0);
        return fiber;
    }

    void resume(Fiber* fiber) {
        running_ = fiber;
        swapcontext(&scheduler_, &fiber->context);
    }

    static void work() {
        Emulator& self = get();
        for (;;) {
            while (!self.pending_.empty()) {
                Fiber& fiber = *self.running_;
                const Work next = self.pending_.front();
                self.pending_.pop_front();
                fiber.home = next.block, fiber.thread = next.thread, fiber.idle = false, fiber.wait = Wait::none;
                self.enter();
                self.kernel_->call(self.kernel_->function, self.arguments_);
                --next.block->alive;
            }
            self.running_->idle = true;
            swapcontext(&self.running_->context, &self.scheduler_);
        }
    }

    void leave(Wait wait) {
        running_->wait = wait;
        if (wait == Wait::barrier) ++running_->home->waiting;
        Fiber* fiber = running_;
        swapcontext(&fiber->context, &scheduler_);
    }

    void enter() {
        running_->wait = Wait::none;
        thread = Index{running_->thread, 0, 0};
        block = running_->home->index;
    }

    ucontext_t scheduler_;
    std::deque<Work> pending_;
    std::vector<std::unique_ptr<Fiber>> fibers_;
    Fiber* running_ = nullptr;
    const Listed* kernel_ = nullptr;
    void** arguments_ = nullptr;
};

}  // namespace tgvc_check

#define threadIdx tgvc_check::Emulator::get().thread
#define blockIdx tgvc_check::Emulator::get().block
#define blockDim tgvc_check::Emulator::get().block_size
#define TGVC_KERNEL(name) static void name
#define TGVC_LISTED(name) static tgvc_check::Listed listed_##name(#name, name);
#define TGVC_SHARED(type, name, count)    \
    static const char name##_key = 0;     \
    type* const name = tgvc_check::Emulator::get().shared<type>(&name##_key, count)
#define TGVC_SYNCHRONIZE() tgvc_check::Emulator::get().synchronize()
#define TGVC_SPIN() tgvc_check::Emulator::get().spin()
