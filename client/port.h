// What port.cc, port_attach.cc and port_settings.cc, the parts of "vmqd-cli port", share.
#ifndef VMQD_CLIENT_PORT_H_
#define VMQD_CLIENT_PORT_H_

#include "client/command.h"

namespace vmqd::cli {

// The verbs add and set.
void AddPortSettingVerbs(CLI::App& resource, Session& session);

// The verb attach-help.
void AddPortAttachVerb(CLI::App& resource, Session& session);

// "port vm1 added: tap1, queue 1 of eth0, CPU 2", or the resource as JSON or YAML.
void PrintPortLine(const Session& session, const v1::Port& port, const char* verb);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_PORT_H_
