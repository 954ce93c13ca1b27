"""The reference's network in PyTorch, and its rows one example at a time."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import data


class Ratings(data.Dataset):
    """One example at a time."""

    def __init__(self, columns: Sequence[Any]) -> None:
        """Keeps the columns: user, item, genre vector, tag vector, rating / 5."""
        self.columns = columns

    def __len__(self) -> int:
        """Rows."""
        return len(self.columns[0])

    def __getitem__(self, row: int) -> tuple[torch.Tensor, ...]:
        """One row as tensors."""
        user, item, genres, tags, rating = (column[row] for column in self.columns)
        return (
            torch.tensor(user, dtype=torch.long),
            torch.tensor(item, dtype=torch.long),
            torch.tensor(genres, dtype=torch.float32),
            torch.tensor(tags, dtype=torch.float32),
            torch.tensor(rating, dtype=torch.float32),
        )


class Network(nn.Module):
    """The reference's network."""

    def __init__(
        self,
        users: int,
        items: int,
        genres: int,
        tags: int = 32,
        *,
        dropout: float = 0.3,
        sparse: bool = False,
    ) -> None:
        """Layers by the reference's names; `sparse` is of the tables' gradients."""
        super().__init__()
        self.user_embedding = nn.Embedding(users, 64, sparse=sparse)
        self.item_embedding = nn.Embedding(items, 64, sparse=sparse)
        self.genre_layer = nn.Linear(genres, 32)
        self.tag_layer = nn.Linear(tags, 16)
        self.fc1, self.fc2 = nn.Linear(176, 128), nn.Linear(128, 64)
        self.output_layer, self.dropout = nn.Linear(64, 1), nn.Dropout(dropout)

    def forward(
        self, user: Any, item: Any, genres: Any, tags: Any, kept: Any = None
    ) -> torch.Tensor:
        """Predicted rating / 5 [B].

        Args:
          user: indices [B].
          item: indices [B].
          genres: of the items [B, G].
          tags: of the items [B, T].
          kept: factors of the hidden units ([B, 128], [B, 64]) drawn by the caller,
            0 or 1 / (1 - rate); None for `nn.Dropout`.
        """
        parts = [
            self.user_embedding(user),
            self.item_embedding(item),
            torch.relu(self.genre_layer(genres)),
            torch.relu(self.tag_layer(tags)),
        ]
        hidden = torch.relu(self.fc1(torch.cat(parts, dim=-1)))
        hidden = self.dropout(hidden) if kept is None else hidden * kept[0]
        hidden = torch.relu(self.fc2(hidden))
        hidden = self.dropout(hidden) if kept is None else hidden * kept[1]
        return self.output_layer(hidden).squeeze(-1)
