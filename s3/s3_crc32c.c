// SPDX-License-Identifier: Apache-2.0
#include "s3/s3_crc32c.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#if defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#define POLYNOMIAL 0x82f63b78u /* reflected */

static uint32_t table[8][256]; /* table[k][b]: byte b followed by k zero bytes */
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    for (uint32_t b = 0; b < 256; ++b) {
        uint32_t crc = b;
        for (int i = 0; i < 8; ++i)
            crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
        table[0][b] = crc;
    }
    for (uint32_t b = 0; b < 256; ++b) {
        for (int k = 1; k < 8; ++k)
            table[k][b] = table[k - 1][b] >> 8 ^ table[0][table[k - 1][b] & 0xff];
    }
}

/* Eight bytes a step: their contributions are independent. */
uint32_t s3_crc32c_portable(uint32_t crc, const void *bytes, size_t len)
{
    const unsigned char *p = bytes;
    pthread_once(&table_once, make_table);
    crc = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint32_t low =
            crc ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^ table[5][low >> 16 & 0xff] ^
              table[4][low >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    }
    for (; len; ++p, --len)
        crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xff];
    return ~crc;
}

#if defined(__x86_64__)
static int has_instruction(void)
{
    return __builtin_cpu_supports("sse4.2");
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const unsigned char *p,
                                                                 size_t len)
{
    uint64_t c = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        c = __builtin_ia32_crc32di(c, word);
    }
    for (; len; ++p, --len)
        c = __builtin_ia32_crc32qi((uint32_t)c, *p);
    return ~(uint32_t)c;
}
#elif defined(__aarch64__)
static int has_instruction(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
}

__attribute__((target("+crc"))) static uint32_t by_instruction(uint32_t crc, const unsigned char *p,
                                                               size_t len)
{
    uint32_t c = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        c = __crc32cd(c, word);
    }
    for (; len; ++p, --len)
        c = __crc32cb(c, *p);
    return ~c;
}
#else
static int has_instruction(void)
{
    return 0;
}
#define by_instruction s3_crc32c_portable
#endif

uint32_t s3_crc32c(uint32_t crc, const void *p, size_t len)
{
    return has_instruction() ? by_instruction(crc, p, len) : s3_crc32c_portable(crc, p, len);
}

void s3_crc32c_text(uint32_t crc, char ret[9])
{
    const unsigned char bytes[4] = {(unsigned char)(crc >> 24), (unsigned char)(crc >> 16),
                                    (unsigned char)(crc >> 8), (unsigned char)crc};
    (void)EVP_EncodeBlock((unsigned char *)ret, bytes, sizeof bytes);
}
