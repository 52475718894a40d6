// A diagnosis on standard output, for `vmqd --doctor [NIC]`, which needs no running daemon. Main
// thread.
#ifndef VMQD_DAEMON_DOCTOR_PRINT_H_
#define VMQD_DAEMON_DOCTOR_PRINT_H_

#include <string>

#include "daemon/doctor/doctor.h"

namespace vmqd {

// `output`: "table" for people, "json" for the API's DiagnoseResponse as protobuf JSON. Returns the
// exit code: 0 when there is no problem, 1 when there is one or the device is not there (then only
// standard error says so).
int PrintDoctor(const std::string& device, const DoctorOptions& options = {},
                const std::string& output = "table");

}  // namespace vmqd

#endif  // VMQD_DAEMON_DOCTOR_PRINT_H_
