// Kernels by name: every `TGVC_LISTED(name)` adds one to the list when the program starts.
#pragma once
#include <cstring>
#include <tuple>
#include <utility>

// A program may hold both the emulated kernels and those of the library: two lists.
#if defined(__CUDACC__)
#define TGVC_LIST on_device
#else
#define TGVC_LIST on_host
#endif

namespace tgvc_check {
inline namespace TGVC_LIST {

struct Listed {
    const char* name;
    const void* function;                       // what cudaLaunchKernel takes
    void (*call)(const void* function, void** arguments);  // calls it with arguments behind pointers, as a launch does
    Listed* next;

    static Listed*& first() {
        static Listed* head = nullptr;
        return head;
    }

    static const Listed* find(const char* name) {
        for (const Listed* one = first(); one; one = one->next) {
            if (std::strcmp(one->name, name) == 0) return one;
        }
        return nullptr;
    }

    template <class... Arguments>
    Listed(const char* name, void (*kernel)(Arguments...))
        : name(name), function(reinterpret_cast<const void*>(kernel)), call(&unpack<Arguments...>), next(first()) {
        first() = this;
    }

  private:
    template <class... Arguments> static void unpack(const void* function, void** arguments) {
        spread<Arguments...>(function, arguments, std::index_sequence_for<Arguments...>());
    }

    template <class... Arguments, std::size_t... N>
    static void spread(const void* function, void** arguments, std::index_sequence<N...>) {
        auto kernel = reinterpret_cast<void (*)(Arguments...)>(const_cast<void*>(function));
        kernel(*static_cast<std::remove_const_t<Arguments>*>(arguments[N])...);
    }
};

}  // namespace TGVC_LIST
}  // namespace tgvc_check

#if defined(__CUDACC__)
#define TGVC_LISTED(name) static tgvc_check::Listed listed_##name(#name, name);
#endif
