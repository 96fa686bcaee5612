// What takes the place of the pager in a C++ infrastructure.

#include "declared.hpp"
#include "vm_pager_shim.hpp"
