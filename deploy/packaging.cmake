# Debian packages: cmake --build build/release --target package. Two, as an operator's machine needs the
# client only: vmqd (the daemon, its unit and settings) and vmqd-cli.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME vmqd)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(VMQD_PACKAGE_CONTACT "vmqd maintainers <vmqd@example.com>" CACHE STRING
    "who answers for the packages: Name <address>")
set(CPACK_PACKAGE_CONTACT ${VMQD_PACKAGE_CONTACT})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL vmqd vmqd-cli)
set(CPACK_COMPONENTS_GROUPING ONE_PER_GROUP)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)

set(CPACK_DEBIAN_VMQD_PACKAGE_NAME vmqd)
set(CPACK_DEBIAN_VMQD_PACKAGE_SECTION net)
set(CPACK_COMPONENT_VMQD_DESCRIPTION "AF_XDP virtual switch with a hardware queue for each VM
A virtual switch for virtual machines and containers on a network card that
stays with its kernel driver: each VM has its own AF_XDP socket on a hardware
receive queue, each queue one worker thread on one CPU. What is not for a VM
goes to the host's own network stack, untouched.
.
This package has the daemon, its systemd unit and its API as protobuf files.")
# The libraries are added by dpkg-shlibdeps. The user and the pin directory are made by systemd's tools.
set(CPACK_DEBIAN_VMQD_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers, systemd | systemd-standalone-tmpfiles")
set(CPACK_DEBIAN_VMQD_PACKAGE_RECOMMENDS "vmqd-cli (= ${PROJECT_VERSION}-1)")
set(CPACK_DEBIAN_VMQD_PACKAGE_CONTROL_EXTRA
    ${CMAKE_CURRENT_LIST_DIR}/debian/conffiles ${CMAKE_CURRENT_LIST_DIR}/debian/postinst
    ${CMAKE_CURRENT_LIST_DIR}/debian/prerm ${CMAKE_CURRENT_LIST_DIR}/debian/postrm)

set(CPACK_DEBIAN_VMQD-CLI_PACKAGE_NAME vmqd-cli)
set(CPACK_DEBIAN_VMQD-CLI_PACKAGE_SECTION net)
set(CPACK_COMPONENT_VMQD-CLI_DESCRIPTION "command line client of the vmqd virtual switch
Shows and changes what a vmqd virtual switch does, on this machine or another:
uplinks, ports, hardware queues, counters, events, and the whole switch as one
file. With completion for bash and zsh.")
set(CPACK_DEBIAN_VMQD-CLI_PACKAGE_SUGGESTS "vmqd, bash-completion")

# What Debian's policy wants of every package.
configure_file(${CMAKE_CURRENT_LIST_DIR}/debian/changelog.in ${CMAKE_BINARY_DIR}/deploy/changelog @ONLY)
execute_process(COMMAND gzip -9nkf ${CMAKE_BINARY_DIR}/deploy/changelog COMMAND_ERROR_IS_FATAL ANY)
foreach(package ${CPACK_COMPONENTS_ALL})
  install(FILES ${CMAKE_CURRENT_LIST_DIR}/debian/copyright COMPONENT ${package}
          DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package})
  file(WRITE ${CMAKE_BINARY_DIR}/deploy/${package}.lintian
       "# Built from the source tree, not uploaded to Debian: there is no bug that asked for it.\n"
       "${package}: initial-upload-closes-no-bugs\n")
  install(FILES ${CMAKE_BINARY_DIR}/deploy/${package}.lintian RENAME ${package}
          DESTINATION ${CMAKE_INSTALL_DATADIR}/lintian/overrides COMPONENT ${package})
  install(FILES ${CMAKE_BINARY_DIR}/deploy/changelog.gz RENAME changelog.Debian.gz
          DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package} COMPONENT ${package})
endforeach()

include(CPack)
