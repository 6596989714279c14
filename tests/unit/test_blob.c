/* SPDX-License-Identifier: MIT */
/*
 * Holds blobs: copies, empty ones, and references dropped by several threads at
 * once. That the memory goes exactly once is seen by the address and thread sanitizers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "model/blob.h"
#include "zmqnet.h"

static void copy_is_independent(void **state)
{
    (void)state;
    char text[] = "hello";
    struct zn_blob *b;
    assert_int_equal(zn_blob_copy(text, 5, &b), 0);
    text[0] = 'j';
    assert_int_equal(zn_blob_bytes(b), 5);
    assert_memory_equal(zn_blob_data(b), "hello", 5);
    zn_blob_drop(&b);
    assert_null(b);
    zn_blob_drop(&b);
}

static void empty_is_null(void **state)
{
    (void)state;
    struct zn_blob *b = (struct zn_blob *)1;
    assert_int_equal(zn_blob_copy(NULL, 0, &b), 0);
    assert_null(b);
    assert_int_equal(zn_blob_bytes(b), 0);
    assert_null(zn_blob_data(b));
    assert_null(zn_blob_ref(b));
}

static void last_reference_frees(void **state)
{
    (void)state;
    struct zn_blob *b;
    assert_int_equal(zn_blob_make(3, &b), 0);
    memcpy(b->data, "abc", 3);
    struct zn_blob *other = zn_blob_ref(b);
    assert_ptr_equal(other, b);
    zn_blob_drop(&b);
    assert_memory_equal(zn_blob_data(other), "abc", 3);
    zn_blob_drop(&other);
}

static void too_much_memory_is_an_error(void **state)
{
    (void)state;
    struct zn_blob *b;
    assert_int_equal(zn_blob_make(SIZE_MAX - 8, &b), ZMQNET_ENOMEM);
    assert_null(b);
}

static void *use(void *arg)
{
    struct zn_blob *mine = arg;
    for (int i = 0; i < 10000; i++) {
        struct zn_blob *extra = zn_blob_ref(mine);
        zn_blob_drop(&extra);
    }
    void *same = mine->data[0] == 'x' ? arg : NULL;
    zn_blob_drop(&mine);
    return same;
}

static void threads_share(void **state)
{
    (void)state;
    enum { THREADS_N = 4 };
    pthread_t threads[THREADS_N];
    struct zn_blob *b;
    assert_int_equal(zn_blob_copy("x", 1, &b), 0);
    void *address = b;
    for (int i = 0; i < THREADS_N; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use, zn_blob_ref(b)), 0);
    zn_blob_drop(&b);
    for (int i = 0; i < THREADS_N; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, address);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copy_is_independent),  cmocka_unit_test(empty_is_null),
        cmocka_unit_test(last_reference_frees), cmocka_unit_test(too_much_memory_is_an_error),
        cmocka_unit_test(threads_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
