// Paging of lists. A page token is the web-safe base64 of the name of the last resource of the page
// before; the page goes on with whatever sorts behind it now, so that resources that come and go
// between two calls neither repeat nor hide others. Pure functions; any thread.
#ifndef VMQD_DAEMON_RPC_PAGE_H_
#define VMQD_DAEMON_RPC_PAGE_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace vmqd::rpc {

inline constexpr size_t kMaxPageSize = 1000;

struct PageRequest {
  size_t size = kMaxPageSize;
  std::string after;  // a resource name; empty: from the start
};

// INVALID_ARGUMENT for a negative size or a token that `Encode` cannot have made.
absl::StatusOr<PageRequest> ParsePageRequest(int32_t page_size, const std::string& page_token);

std::string EncodePageToken(const std::string& last_name);

// INVALID_ARGUMENT for a token that belongs to another list, or to none.
absl::Status RefusePageToken();

// Leaves of `items`, which are ordered by key, the page of at most `size` items behind `after`.
// Returns whether items are left over behind it.
template <typename Item, typename Key, typename KeyOf>
bool CutPage(std::vector<Item>& items, size_t size, const std::optional<Key>& after, KeyOf key_of) {
  auto first = items.begin();
  if (after.has_value()) {
    first =
        std::find_if(first, items.end(), [&](const Item& item) { return key_of(item) > *after; });
  }
  items.erase(items.begin(), first);
  if (items.size() <= size) return false;
  items.erase(items.begin() + static_cast<std::ptrdiff_t>(size), items.end());
  return true;
}

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_PAGE_H_
