"""A critic that learns to tell decoded squares from drawn ones, and by that teaches the decoder to be crisp.

Mean distances ask for the mean of all contours that latents allow, which is soft. The critic asks for one of them. Its
form is that of PatchGAN (Isola et al., 2017), its loss the hinge (Lim and Ye, 2017), its share that of VQGAN (Esser
et al., 2021).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

RATE = 4e-4


class Critic(nn.Module):
    """A picture and what its latents say of it, both (B, 3, H, W) -> how drawn each place looks, (B, 1, H/4, H/4). It
    sees 26 pixels around a place."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(6, width, 4, 2, 1), nn.Conv2d(width, 2 * width, 4, 2, 1),
                        nn.Conv2d(2 * width, 3 * width, 3, 1, 1), nn.Conv2d(3 * width, 1, 3, 1, 1)]
        layers: list[nn.Module] = []
        for convolution in convolutions:
            layers += [spectral_norm(convolution), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, picture: Tensor, said: Tensor) -> Tensor:
        return self.layers(torch.cat([picture, said], 1))


class Duel:
    """A critic that learns from each batch, and what it tells the decoder."""

    def __init__(self, device: torch.device, share: float) -> None:
        """share: how strong the critic's gradient is at the decoder's last layer, as a part of the other loss's."""
        self.critic, self.share = Critic().to(device), share
        self.optimizer = torch.optim.Adam(self.critic.parameters(), RATE, betas=(0.5, 0.9))

    def __call__(self, made: Tensor, target: Tensor, said: Tensor, distance: Tensor, last: nn.Parameter) -> Tensor:
        """The decoder's whole loss for a batch of pictures (B, 3, H, W). distance: its loss without the critic; last:
        the weight of its last layer."""
        self.critic.requires_grad_(False)
        doubt = -self.critic(made, said).mean()
        mine, other = (torch.autograd.grad(value, last, retain_graph=True)[0].norm() for value in (doubt, distance))
        share = self.share * (other / (mine + 1e-6)).clamp(max=100).detach()
        self.critic.requires_grad_(True)
        found = F.relu(1 - self.critic(target, said)).mean() + F.relu(1 + self.critic(made.detach(), said)).mean()
        self.optimizer.zero_grad(set_to_none=True)
        found.backward()
        self.optimizer.step()
        return distance + share * doubt
