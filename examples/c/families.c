/* Employees and students in pages of their own. Built and run by a test; by hand:
 *
 *     cargo build --release -p outcore-library
 *     gcc -I crates/library/include examples/c/families.c target/release/liboutcore.a -lpthread -lm -ldl
 */

#include <stdio.h>
#include <string.h>

#include "outcore_macros.h"

typedef struct {
    char name[32];
    unsigned id;
} emp_t;

typedef struct {
    char name[32];
    double marks[3];
} student_t;

static int failed(const char *what) {
    fprintf(stderr, "families: %s: %s\n", what, oc_error());
    return 1;
}

int main(void) {
    oc_family emps = OC_REGISTER(emp_t);
    oc_family students = OC_REGISTER(student_t);
    if (!emps || !students)
        return failed("cannot register");

    emp_t *emp[3];
    for (unsigned i = 0; i < 3; i++) {
        emp[i] = xcalloc(1, emp_t);
        if (!emp[i])
            return failed("no employee");
        emp[i]->id = i + 1;
        snprintf(emp[i]->name, sizeof emp[i]->name, "employee %u", i + 1);
    }
    student_t *class = xcalloc(30, student_t);
    if (!class)
        return failed("no class");
    class[29].marks[2] = 1.3;

    printf("registered:\n");
    oc_print_families(NULL, stdout, OC_FORMAT_TEXT);
    printf("with three employees and a class of 30:\n");
    oc_print_usage(NULL, 0, stdout, OC_FORMAT_TEXT);

    xfree(emp[1]);
    printf("without the second employee:\n");
    oc_print_blocks(NULL, emps, stdout, OC_FORMAT_TEXT);
    oc_print_usage(NULL, emps, stdout, OC_FORMAT_JSON);

    /* What is wrong is refused. */
    xfree(emp[1]);
    xfree(&class[7]);
    if (xcalloc(0, emp_t) || xcalloc(1, long))
        return 1;
    printf("refused: %s\n", oc_error());

    oc_location where;
    if (oc_locate(NULL, &class[7].marks[1], &where) != 0)
        return failed("a mark is nowhere");
    printf("a mark lies in a %s, %zu bytes into its block of %zu\n",
           where.family == students ? "student" : "stranger",
           (size_t)((char *)&class[7].marks[1] - (char *)where.data), where.size);

    xfree(class);
    xfree(emp[0]);
    xfree(emp[2]);
    printf("in the end:\n");
    oc_print_usage(NULL, emps, stdout, OC_FORMAT_TEXT);
    return oc_check(NULL) == 0 ? 0 : failed("the heap is broken");
}
