"""What `lmhead train` and `lmhead estimate` say of a run before it begins: work, memory, time; on ranks too."""
