/* A library whose array the linker puts into the program that uses it (a copy relocation). */
int kept[1 << 20] = {1};
