# SPDX-License-Identifier: Apache-2.0
# `cmake --install build --prefix /usr/local`: the programs, their manual pages, the documents, a systemd unit, the example
# layer. Included last, when all targets are known.
include(GNUInstallDirs)
foreach(program rac-proxy rac-layer)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    if(EXISTS ${CMAKE_SOURCE_DIR}/docs/man/${program}.1)
      install(FILES docs/man/${program}.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    endif()
  endif()
endforeach()
install(FILES README.md CONTRIBUTING.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
# Where systemd looks for units of an administrator's own below /usr/local, and for a distribution's below /usr.
install(FILES packaging/systemd/rac-proxy.service DESTINATION lib/systemd/system)
# The example layer, where ./run.sh or fuse-layer/pack has packed it.
install(DIRECTORY ${CMAKE_BINARY_DIR}/layer/ DESTINATION ${CMAKE_INSTALL_DATADIR}/rac/layer OPTIONAL)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs FILES_MATCHING PATTERN "*.md"
  PATTERN man EXCLUDE)
