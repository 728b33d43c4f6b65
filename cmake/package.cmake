# SPDX-License-Identifier: Apache-2.0
# The Debian package: `packaging/deb` builds all that goes into it and calls CPack; `cmake --build build --target package`
# does the last part alone. It holds what `cmake --install` does, and what only a package has: component `debian`.
set(packaging ${CMAKE_SOURCE_DIR}/packaging)
set(made ${CMAKE_BINARY_DIR}/debian)
# `-D RAC_DEB_VERSION=` for a build between two versions.
if(NOT RAC_DEB_VERSION)
  set(RAC_DEB_VERSION ${PROJECT_VERSION})
endif()
set(RAC_BINDIR /usr/bin)
set(RAC_LAYER /usr/share/rac/layer/layer.json)
string(TIMESTAMP RAC_DEB_DATE "%a, %d %b %Y %H:%M:%S +0000" UTC)
configure_file(${packaging}/systemd/rac-proxy.service.in ${made}/rac-proxy.service @ONLY)
configure_file(${packaging}/config.yaml ${made}/config.yaml @ONLY)
configure_file(${packaging}/debian/changelog.in ${made}/changelog @ONLY)

set(debian COMPONENT debian EXCLUDE_FROM_ALL)
install(FILES ${made}/rac-proxy.service DESTINATION /lib/systemd/system ${debian})
install(FILES ${made}/config.yaml DESTINATION /etc/rac-proxy ${debian})
install(FILES ${packaging}/debian/copyright DESTINATION share/doc/rac-proxy ${debian})
install(FILES ${completions}/zsh DESTINATION share/zsh/vendor-completions RENAME _rac-proxy ${debian})
# As policy has them: compressed as far as it goes, without a time in them.
install(CODE "
  if(NOT EXISTS ${CMAKE_BINARY_DIR}/layer/layer.json)
    message(FATAL_ERROR \"the runtime layer is not built, and the package's configuration injects it: use packaging/deb\")
  endif()
  file(MAKE_DIRECTORY ${made}/man)
  file(GLOB pages RELATIVE ${CMAKE_SOURCE_DIR}/docs/man ${CMAKE_SOURCE_DIR}/docs/man/*.1)
  foreach(page \${pages})
    execute_process(COMMAND gzip -9nc ${CMAKE_SOURCE_DIR}/docs/man/\${page} OUTPUT_FILE ${made}/man/\${page}.gz
      COMMAND_ERROR_IS_FATAL ANY)
  endforeach()
  execute_process(COMMAND gzip -9nc ${made}/changelog OUTPUT_FILE ${made}/changelog.gz COMMAND_ERROR_IS_FATAL ANY)
" ${debian})
install(DIRECTORY ${made}/man/ DESTINATION share/man/man1 ${debian})
install(FILES ${made}/changelog.gz DESTINATION share/doc/rac-proxy ${debian})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME rac-proxy)
set(CPACK_PACKAGE_VERSION ${RAC_DEB_VERSION})
set(CPACK_PACKAGE_CONTACT "The RAC authors <rac@example.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "pull-through proxy registry that adds a layer to images")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"Container images are pulled through it from any upstream registry, kept, and
handed on to all who ask, also when the upstream is away. Images that a rule
names come with a layer on top and its entry point in front, without a rebuild.

This package has the proxy, the command that packs layers, and RAC's own
runtime layer for amd64 and arm64: object stores as files in any container.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_INSTALL_CMAKE_PROJECTS
  "${CMAKE_BINARY_DIR};rac;Unspecified;/" "${CMAKE_BINARY_DIR};rac;debian;/")
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
  OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "adduser, ca-certificates, init-system-helpers (>= 1.52)")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
file(WRITE ${made}/conffiles "/etc/rac-proxy/config.yaml\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${made}/conffiles
  ${packaging}/debian/postinst ${packaging}/debian/prerm ${packaging}/debian/postrm)
include(CPack)
