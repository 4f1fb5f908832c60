"""Networks that steer a UNet from beside it: ControlNets, T2I-Adapters, and the UNet itself on a reference picture."""
