"""Every map on handwritten digits: the first comparison."""
