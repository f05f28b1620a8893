// The console is not built yet.
