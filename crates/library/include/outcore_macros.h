/* Short names for Outcore's page families: macros that take a type's name. Define
 * OC_NO_SHORT_NAMES before including it to have OC_REGISTER only. */

#ifndef OUTCORE_MACROS_H
#define OUTCORE_MACROS_H

#include "outcore.h"

#ifdef __cplusplus
#define OC_ALIGNOF(T) alignof(T)
#else
#define OC_ALIGNOF(T) _Alignof(T)
#endif

/* Registers a type with the default heap, under its name: the family, or 0. */
#define OC_REGISTER(T) oc_register(NULL, #T, sizeof(T), OC_ALIGNOF(T))

#ifndef OC_NO_SHORT_NAMES

/* N objects of a registered type in a row, all bytes zero, as a T *; NULL if N is 0, the
 * type is not registered, or there is no memory: oc_error() tells. */
#define xcalloc(n, T) ((T *)oc_calloc_named(#T, sizeof(T), (n)))

/* The same, the bytes as they happen to be. */
#define xmalloc(n, T) ((T *)oc_malloc_named(#T, sizeof(T), (n)))

/* Frees what xcalloc or xmalloc gave. What is not that is reported on standard error,
 * and refused. */
#define xfree(p) oc_free_or_report(p)

#endif

#endif
