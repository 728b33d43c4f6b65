# SPDX-License-Identifier: Apache-2.0
# Debian's compiler for amd64 by its full name; on a machine of another architecture it is the cross compiler.
set(RAC_GNU_NAME x86_64-linux-gnu)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
include(${CMAKE_CURRENT_LIST_DIR}/layer.cmake)
