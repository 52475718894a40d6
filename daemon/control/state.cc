// See state.h.
#include "daemon/control/state.h"

#include <algorithm>

namespace vmqd {
namespace {

void Remember(const Reply& reply, std::deque<Reply>& replies) {
  // Backwards: an id that comes again has mostly come lately.
  const auto old = std::find_if(replies.rbegin(), replies.rend(), [&](const Reply& other) {
    return other.request_id == reply.request_id;
  });
  if (old != replies.rend()) replies.erase(std::next(old).base());
  replies.push_back(reply);
  while (replies.size() > kRememberedReplies) replies.pop_front();
}

}  // namespace

void Apply(const StateChange& change, DesiredState& state) {
  state.revision = change.revision;
  if (change.incarnation != 0) state.incarnation = change.incarnation;
  if (!change.boot_id.empty()) state.boot_id = change.boot_id;
  state.uplinks.erase(change.deleted_uplink);
  state.ports.erase(change.deleted_port);
  if (const auto* uplink = std::get_if<DesiredUplink>(&change.put)) {
    state.uplinks.insert_or_assign(uplink->config.id, *uplink);
  } else if (const auto* port = std::get_if<DesiredPort>(&change.put)) {
    state.ports.insert_or_assign(port->config.id, *port);
  }
  if (change.reply.has_value()) Remember(*change.reply, state.replies);
  if (change.borrowed.has_value()) state.borrowed = *change.borrowed;
}

}  // namespace vmqd
