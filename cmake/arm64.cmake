# SPDX-License-Identifier: Apache-2.0
# Debian's compiler for arm64 by its full name; on a machine of another architecture it is the cross compiler.
set(RAC_GNU_NAME aarch64-linux-gnu)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
include(${CMAKE_CURRENT_LIST_DIR}/layer.cmake)
