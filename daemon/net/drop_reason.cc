// Names and sentences of the drop reasons, expanded from the one list in bpf/abi.h. Any thread.
#include "daemon/net/drop_reason.h"

namespace vmqd {

std::string_view DropReasonName(DropReason reason) {
  switch (reason) {
#define X(id, name, text) \
  case DropReason::k##id: \
    return name;
    VMQD_DROP_REASONS(X)
#undef X
  }
  return "unknown";  // not one of the enumerators
}

std::string_view DropReasonText(DropReason reason) {
  switch (reason) {
#define X(id, name, text) \
  case DropReason::k##id: \
    return text;
    VMQD_DROP_REASONS(X)
#undef X
  }
  return "is lost for a reason this version does not know";
}

}  // namespace vmqd
