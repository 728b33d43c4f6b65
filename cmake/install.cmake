# SPDX-License-Identifier: Apache-2.0
# `cmake --install build --prefix /usr/local`: the programs, their manual pages, the documents, a systemd unit, the runtime layer.
# Included last, when all targets are known.
include(GNUInstallDirs)
foreach(program rac-proxy rac-layer)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()
# Also those of rac-init and rac-fuse: images have the programs, and their users read here.
install(DIRECTORY docs/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 FILES_MATCHING PATTERN "*.1")
install(FILES README.md CONTRIBUTING.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
# Where systemd looks for units of an administrator's own below /usr/local, and for a distribution's below /usr.
install(FILES packaging/systemd/rac-proxy.service DESTINATION lib/systemd/system)
# The runtime layer, where ./run.sh or fuse-layer/build has packed it. Its programs are in it, and nowhere else.
install(DIRECTORY ${CMAKE_BINARY_DIR}/layer/ DESTINATION ${CMAKE_INSTALL_DATADIR}/rac/layer OPTIONAL FILES_MATCHING
  PATTERN "layer.json" PATTERN "layer-*.tar.gz")
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs FILES_MATCHING PATTERN "*.md"
  PATTERN man EXCLUDE)
