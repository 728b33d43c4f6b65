# SPDX-License-Identifier: Apache-2.0
# rac-fuse: all of the driver but main.c is a library, so that tests and fuzzers link the same objects.
find_library(RAC_LIBFUSE3_A libfuse3.a)
find_path(RAC_FUSE3_INCLUDE fuse3/fuse_lowlevel.h)
if(NOT RAC_LIBFUSE3_A OR NOT RAC_FUSE3_INCLUDE)
  message(STATUS "libfuse3.a not found: no rac-fuse (apt-get install libfuse3-dev)")
  return()
endif()
add_library(rac_fuse STATIC check.c drain.c inode.c listing.c memory.c mount.c ops.c ops_file.c ops_folder.c ops_interrupt.c
  ops_name.c ops_rename.c ops_rename_folder.c options.c pool.c posix.c prefetch.c reader.c resolve.c spill.c sweep.c writer.c writer_commit.c
  writer_local.c)
target_include_directories(rac_fuse SYSTEM PUBLIC ${RAC_FUSE3_INCLUDE})
target_link_libraries(rac_fuse PUBLIC rac_s3 ${RAC_LIBFUSE3_A} dl)
add_executable(rac-fuse main.c)
target_link_libraries(rac-fuse PRIVATE rac_fuse)
# In an image there is nothing else. Sanitizers have no static runtime.
if(NOT RAC_SANITIZE)
  target_link_options(rac-fuse PRIVATE -static)
endif()
