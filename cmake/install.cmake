# SPDX-License-Identifier: Apache-2.0
# `cmake --install build --prefix /usr/local`: the programs, their manual pages, the documents, a systemd unit, the runtime layer.
# Included last, when all targets are known. What a Debian package has besides, or elsewhere, is in package.cmake.
include(GNUInstallDirs)
set(CMAKE_INSTALL_DOCDIR ${CMAKE_INSTALL_DATAROOTDIR}/doc/rac-proxy)
foreach(program rac-proxy rac-layer)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()
install(FILES README.md CONTRIBUTING.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs FILES_MATCHING PATTERN "*.md"
  PATTERN man EXCLUDE)
# The runtime layer, where ./run.sh or fuse-layer/build has packed it. Its programs are in it, and nowhere else.
install(DIRECTORY ${CMAKE_BINARY_DIR}/layer/ DESTINATION ${CMAKE_INSTALL_DATADIR}/rac/layer OPTIONAL FILES_MATCHING
  PATTERN "layer.json" PATTERN "layer-*.tar.gz")
# Completions are what the program prints.
set(completions ${CMAKE_BINARY_DIR}/completions)
install(CODE "
  file(MAKE_DIRECTORY ${completions})
  foreach(shell bash zsh)
    execute_process(COMMAND ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/rac-proxy --print-\${shell}-completion
      OUTPUT_FILE ${completions}/\${shell} COMMAND_ERROR_IS_FATAL ANY)
  endforeach()
" ALL_COMPONENTS)
install(FILES ${completions}/bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME rac-proxy)

# ---- only `cmake --install`, not the package ----
# Also the manual pages of rac-init and rac-fuse: images have the programs, and their users read here.
install(DIRECTORY docs/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 COMPONENT plain FILES_MATCHING PATTERN "*.1")
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT plain)
install(FILES ${completions}/zsh DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions RENAME _rac-proxy COMPONENT plain)
# The prefix is known when it is installed, and not before.
install(CODE "
  set(RAC_BINDIR \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_BINDIR}\")
  configure_file(${CMAKE_SOURCE_DIR}/packaging/systemd/rac-proxy.service.in ${CMAKE_BINARY_DIR}/plain/rac-proxy.service @ONLY)
" COMPONENT plain)
# Where systemd looks for units of an administrator's own below /usr/local, and for a distribution's below /usr.
install(FILES ${CMAKE_BINARY_DIR}/plain/rac-proxy.service DESTINATION lib/systemd/system COMPONENT plain)

include(${CMAKE_CURRENT_LIST_DIR}/package.cmake)
