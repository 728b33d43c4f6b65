# SPDX-License-Identifier: Apache-2.0
# What the toolchains of the runtime layer's architectures have in common. With -DCMAKE_SYSROOT=FOLDER, which
# fuse-layer/sysroot makes, all but the compiler comes from there.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_C_COMPILER ${RAC_GNU_NAME}-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE ${RAC_GNU_NAME})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
# Also what CMake links to try something: there is no shared libc in the folder.
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
if(CMAKE_SYSROOT)
  set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
  set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
  # Cross compilers look into the libc that came with them first. That of libc6-dev-arm64-cross gets no security updates.
  set(CMAKE_C_FLAGS_INIT "\"-B${CMAKE_SYSROOT}/usr/lib/${RAC_GNU_NAME}\"")
  foreach(folder ${RAC_GNU_NAME} .)
    string(APPEND CMAKE_C_FLAGS_INIT " -isystem \"${CMAKE_SYSROOT}/usr/include/${folder}\"")
  endforeach()
endif()
