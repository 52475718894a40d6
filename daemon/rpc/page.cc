// See page.h.
#include "daemon/rpc/page.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "daemon/rpc/error.h"

namespace vmqd::rpc {

absl::StatusOr<PageRequest> ParsePageRequest(int32_t page_size, const std::string& page_token) {
  if (page_size < 0) {
    return Invalid(
        "PAGE_SIZE_NEGATIVE", "page_size",
        absl::StrCat(page_size, " is negative; give 1-", kMaxPageSize, ", or 0 for the most"));
  }
  PageRequest page;
  if (page_size > 0) page.size = std::min<size_t>(page_size, kMaxPageSize);
  if (page_token.empty()) return page;
  if (!absl::WebSafeBase64Unescape(page_token, &page.after) || page.after.empty()) {
    return RefusePageToken();
  }
  return page;
}

std::string EncodePageToken(const std::string& last_name) {
  return absl::WebSafeBase64Escape(last_name);
}

absl::Status RefusePageToken() {
  return Invalid("PAGE_TOKEN_INVALID", "page_token",
                 "not a next_page_token of this list; leave it empty to start over");
}

}  // namespace vmqd::rpc
