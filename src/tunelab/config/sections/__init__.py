"""The typed sections of a config, one file each, owned by the component that reads them."""
