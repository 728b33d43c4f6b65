// SPDX-License-Identifier: Apache-2.0
#include "proxy/api/openapi.h"

#include "proxy/http/response.h"

/* The file becomes part of the program as it is; C11 has no #embed. */
__asm__(".pushsection .rodata\n"
        ".global rac_openapi_begin\n.hidden rac_openapi_begin\n"
        "rac_openapi_begin:\n"
        ".incbin \"" RAC_OPENAPI_FILE "\"\n"
        ".global rac_openapi_end\n.hidden rac_openapi_end\n"
        "rac_openapi_end:\n"
        ".popsection\n");
extern const char rac_openapi_begin[], rac_openapi_end[];

void openapi_handle(struct api *api, struct request *r)
{
    (void)api;
    response_header_ref(r, "Content-Type", SLICE_LIT("application/yaml"));
    response_send_ref(r, 200, rac_openapi_begin, (size_t)(rac_openapi_end - rac_openapi_begin));
}
